// simple-peerjs 1.0.1 in Node.
import { createRequire } from 'node:module';
import { nodeEnv } from './node_client.mjs';

const SimplePeerJs = createRequire(import.meta.url)('simple-peerjs');

/**
 * Connects to a broker; needs no page. `url` is its origin, `path` its mount (the library wants a slash at its end), `id` the wanted peer id.
 * `pingInterval`: milliseconds between heartbeats; none is the library's default, about one each millisecond.
 */
export async function connect(_open, { url, path = '/', key = 'peerjs', id, pingInterval }) {
  const env = nodeEnv();
  const { hostname, port, protocol } = new URL(url);
  const connections = [];
  const texts = [];
  const events = [];
  const manager = new SimplePeerJs({
    fetch, WebSocket: env.WebSocket, wrtc: env.wrtc, host: hostname, port: Number(port), key, id, pingInterval,
    path: path.endsWith('/') ? path : `${path}/`, secure: protocol === 'https:', simplePeer: { config: { iceServers: [] } },
  });
  manager.on('error', error => events.push({ error: error.type ?? String(error) }));
  manager.on('connect', connection => {
    connections.push(connection);
    connection.peer.on('data', data => texts.push({ from: connection.peerId, text: Buffer.from(data).toString(), bytes: data.length }));
    connection.peer.on('close', () => events.push({ closed: connection.peerId }));
    connection.peer.on('error', error => events.push({ peer: connection.peerId, error: error.message }));
  });
  const own = await Promise.race([manager.id, new Promise((_, failed) => manager.on('error', failed))]);
  const open = () => connections.filter(one => one.peer.connected);
  return {
    id: () => own,
    events: () => events,
    peers: () => [...new Set(open().map(one => one.peerId))],
    /** Everything received, strings and buffers alike: the library hands out bytes. */
    texts: () => texts,
    wire: () => env.wire,
    media: () => env.media(),
    states: () => env.states(),
    async dial(to) { await manager.connect(to); },
    /** A string or a buffer to one peer, or to all. */
    sendText(value, to) {
      for (const { peer } of open().filter(one => to === undefined || one.peerId === to)) peer.send(value);
    },
    /** Leaves the broker, keeps the channels. */
    disconnect() { manager.signaler.disconnect(); },
    leave() { manager.close(); },
  };
}
