// @libp2p/webrtc-star in Node, in its last version, 7, and in the one MUTE has, 3.
import wrtc from '@roamhq/wrtc';
import { until } from './until.mjs';

// Node 22 has it, Node 20 not
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new Promise((...both) => { [resolve, reject] = both; });
  return { promise, resolve, reject };
};

/** What every node answers to. */
export const PROTOCOL = '/echo/1.0.0';

/** What a node is made of, by the major version of webrtc-star. */
const VERSIONS = {
  async 3(options) {
    const [{ createLibp2p }, { WebRTCStar }, { Noise }, { Mplex }] =
      await Promise.all(['libp2p-0.39', 'libp2p-webrtc-star-3', 'libp2p-noise-8', 'libp2p-mplex-5'].map(name => import(name)));
    const star = new WebRTCStar(options);
    return { createLibp2p, transport: star, discovery: star.discovery, noise: new Noise(), mplex: new Mplex() };
  },
  async 7(options) {
    const [{ createLibp2p }, { webRTCStar }, { noise }, { mplex }] =
      await Promise.all(['libp2p', '@libp2p/webrtc-star', '@chainsafe/libp2p-noise', '@libp2p/mplex'].map(name => import(name)));
    const star = webRTCStar(options);
    return { createLibp2p, transport: star.transport, discovery: star.discovery, noise: noise(), mplex: mplex() };
  },
};

/** A libp2p node that listens on the server at `url` (http://host:port) and echoes what comes by `PROTOCOL`. */
export async function createNode(url, version = 7) {
  const { hostname, port } = new URL(url);
  const listen = `/ip4/${hostname}/tcp/${port}/ws/p2p-webrtc-star`;
  const { createLibp2p, transport, discovery, noise, mplex } = await VERSIONS[version]({ wrtc, config: { iceServers: [] } });
  const node = await createLibp2p({
    addresses: { listen: [listen] }, transports: [transport], peerDiscovery: [discovery],
    connectionEncryption: [noise], streamMuxers: [mplex], connectionManager: { minConnections: 0, autoDial: false },
  });
  // by id, as this version writes it
  const discovered = new Map();
  node.addEventListener('peer:discovery', ({ detail }) => discovered.set(detail.id.toString(), detail.id));
  await node.handle(PROTOCOL, ({ stream }) => { Promise.resolve(stream.sink(stream.source)).catch(() => {}); });
  await node.start();
  return { node, discovered, id: node.peerId.toString() };
}

/** Sends bytes over a stream to a node that `from` has discovered, compares what comes back, and gives its length. */
export async function echo(from, to, bytes) {
  const stream = await from.node.dialProtocol(from.discovered.get(to.id), PROTOCOL);
  const sent = stream.sink(async function* () {
    for (let at = 0; at < bytes.length; at += 16384) yield bytes.subarray(at, at + 16384);
  }());
  const back = [];
  for await (const part of stream.source) back.push(Buffer.from(part.subarray()));
  await sent;
  if (!Buffer.concat(back).equals(Buffer.from(bytes))) throw new Error('other bytes came back');
  return bytes.length;
}

/** Two nodes that know each other. */
export async function pair(url, versions = [7, 7]) {
  const [a, b] = [await createNode(url, versions[0]), await createNode(url, versions[1])];
  for (const [one, other] of [[a, b], [b, a]]) await until(`the discovery of ${other.id}`, () => one.discovered.has(other.id));
  return [a, b];
}
