// node star.mjs URL [BYTES]: two libp2p nodes with @libp2p/webrtc-star in Node listen on the server at URL (http://127.0.0.1:port), discover
// each other, dial, and echo bytes (1 MiB) over a stream of a protocol.
import { noise } from '@chainsafe/libp2p-noise';
import { mplex } from '@libp2p/mplex';
import { webRTCStar } from '@libp2p/webrtc-star';
import wrtc from '@roamhq/wrtc';
import { words } from './lib/args.mjs';
import { withNode } from './lib/node_client.mjs';
import { until } from './lib/until.mjs';

// Node 22 has it, Node 20 not
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new Promise((...both) => { [resolve, reject] = both; });
  return { promise, resolve, reject };
};

const [url, size = '1048576'] = words;
const PROTOCOL = '/echo/1.0.0';
const { hostname, port } = new URL(url);
const LISTEN = `/ip4/${hostname}/tcp/${port}/ws/p2p-webrtc-star`;

async function createNode() {
  const { createLibp2p } = await import('libp2p');
  const star = webRTCStar({ wrtc, config: { iceServers: [] } });
  const node = await createLibp2p({
    addresses: { listen: [LISTEN] }, transports: [star.transport], peerDiscovery: [star.discovery],
    connectionEncryption: [noise()], streamMuxers: [mplex()], connectionManager: { minConnections: 0, autoDial: false },
  });
  const discovered = new Set();
  node.addEventListener('peer:discovery', ({ detail }) => discovered.add(detail.id.toString()));
  await node.handle(PROTOCOL, ({ stream }) => { stream.sink(stream.source).catch(() => {}); });
  await node.start();
  return { node, discovered, id: node.peerId.toString() };
}

/** Sends bytes over a stream, and counts and compares what comes back. */
async function echo(from, to, bytes) {
  const stream = await from.node.dialProtocol(to.node.peerId, PROTOCOL);
  const sent = stream.sink(async function* () {
    for (let at = 0; at < bytes.length; at += 16384) yield bytes.subarray(at, at + 16384);
  }());
  const back = [];
  for await (const part of stream.source) back.push(Buffer.from(part.subarray()));
  await sent;
  if (!Buffer.concat(back).equals(Buffer.from(bytes))) throw new Error('other bytes came back');
  return bytes.length;
}

await withNode(async logs => {
  process.on('uncaughtException', error => logs.push(`uncaught: ${error.stack ?? error}`));
  const [a, b] = [await createNode(), await createNode()];
  const result = { a: a.id, b: b.id, addresses: a.node.getMultiaddrs().map(String) };
  for (const [one, other] of [[a, b], [b, a]]) await until(`the discovery of ${other.id}`, () => one.discovered.has(other.id));
  const bytes = Uint8Array.from({ length: Number(size) }, (_, i) => (i * 31 + (i >> 8)) & 255);
  result.echoed = await echo(a, b, bytes);
  result.back = await echo(b, a, bytes.subarray(0, 1000));
  result.connections = a.node.getConnections().map(connection => connection.remoteAddr.toString());

  // one that has gone is no longer discovered nor reached
  await b.node.stop();
  await until('the end of the connection', () => a.node.getConnections().length === 0);
  result.absent = await a.node.dial(b.node.peerId, { signal: AbortSignal.timeout(20000) }).then(() => 'connected', error => String(error.code ?? error.message));
  if (result.absent === 'connected') throw new Error('a stopped node was reached');
  await a.node.stop();
  return result;
});
