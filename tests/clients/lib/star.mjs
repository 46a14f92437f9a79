// @libp2p/webrtc-star in Node.
import { noise } from '@chainsafe/libp2p-noise';
import { mplex } from '@libp2p/mplex';
import { webRTCStar } from '@libp2p/webrtc-star';
import wrtc from '@roamhq/wrtc';

// Node 22 has it, Node 20 not
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new Promise((...both) => { [resolve, reject] = both; });
  return { promise, resolve, reject };
};

/** What every node answers to. */
export const PROTOCOL = '/echo/1.0.0';

/** A libp2p node that listens on the server at `url` (http://host:port) and echoes what comes by `PROTOCOL`. */
export async function createNode(url) {
  const { hostname, port } = new URL(url);
  const listen = `/ip4/${hostname}/tcp/${port}/ws/p2p-webrtc-star`;
  const { createLibp2p } = await import('libp2p');
  const star = webRTCStar({ wrtc, config: { iceServers: [] } });
  const node = await createLibp2p({
    addresses: { listen: [listen] }, transports: [star.transport], peerDiscovery: [star.discovery],
    connectionEncryption: [noise()], streamMuxers: [mplex()], connectionManager: { minConnections: 0, autoDial: false },
  });
  const discovered = new Set();
  node.addEventListener('peer:discovery', ({ detail }) => discovered.add(detail.id.toString()));
  await node.handle(PROTOCOL, ({ stream }) => { stream.sink(stream.source).catch(() => {}); });
  await node.start();
  return { node, discovered, id: node.peerId.toString() };
}
