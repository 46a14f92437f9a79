// PeerJS 1.5.5 in a page, or 1.4.7.
import { pageClient } from './page_client.mjs';

/**
 * Connects to a broker. `url` is its origin, `path` its mount, `id` the wanted peer id (none: the broker gives one).
 * With `media` calls are made and answered with the fake camera, otherwise answered with nothing. Without `picksUp` they are answered by `pickUp()`.
 * `version`: `1.5.5` or `1.4.7`.
 */
export const connect = (open, { page, url, path = '/', key = 'peerjs', id, media = false, picksUp = true, version = '1.5.5' }) =>
  pageClient(open, { page, bundles: [`${BUNDLES[version]}/dist/peerjs.js`], start, options: { url, path, key, id, media, picksUp } });

const BUNDLES = { '1.5.5': 'peerjs', '1.4.7': 'peerjs-147' };

/** Runs in the page. */
async function start({ url, path, key, id, media, picksUp }, env) {
  const { hostname, port, protocol } = new URL(url);
  const options = { host: hostname, port: Number(port), path, key, secure: protocol === 'https:', config: { iceServers: [] }, debug: 1 };
  const camera = media ? await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360 }, audio: true }) : undefined;
  const connections = [];
  const calls = [];
  const ringing = [];
  const answered = [];
  const texts = [];
  const events = [];
  const sha256 = async bytes => [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))].map(b => b.toString(16).padStart(2, '0')).join('');
  const describe = async data => {
    if (typeof data === 'string') return data;
    const bytes = data instanceof ArrayBuffer ? data : ArrayBuffer.isView(data) ? data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength) : null;
    return bytes ? { bytes: bytes.byteLength, sha256: await sha256(bytes) } : { value: data };
  };
  const keep = connection => {
    connections.push(connection);
    connection.on('data', data => {
      const entry = { from: connection.peer, label: connection.label };
      texts.push(entry);
      describe(data).then(text => { entry.text = text; });
    });
    connection.on('error', error => events.push({ connection: connection.peer, error: error.type ?? error.message }));
    connection.on('close', () => events.push({ closed: connection.peer, label: connection.label }));
    return connection;
  };
  const watch = call => {
    calls.push(call);
    call.on('stream', () => answered.push(call.peer));
    call.on('close', () => events.push({ hungUp: call.peer }));
    call.on('error', error => events.push({ call: call.peer, error: error.type ?? error.message }));
    return call;
  };
  const peer = id === undefined || id === null ? new env.Peer(options) : new env.Peer(id, options);
  for (const name of ['open', 'disconnected', 'close']) peer.on(name, value => events.push({ [name]: value ?? true }));
  peer.on('error', error => events.push({ error: error.type, message: error.message }));
  peer.on('connection', keep);
  peer.on('call', call => {
    watch(call);
    if (picksUp) call.answer(camera);
    else ringing.push(call);
  });
  const settled = () => events.find(event => 'open' in event || 'error' in event);
  const from = index => connections.find(connection => connection.label === index || connection.peer === index);
  await env.until('open or an error from the broker', settled);
  return {
    id: () => peer.id,
    events: () => events,
    /** Ids of peers with an open data connection. */
    peers: () => [...new Set(connections.filter(one => one.open).map(one => one.peer))],
    connections: () => connections.map(({ peer, label, open, reliable, serialization, metadata, connectionId, dataChannel }) =>
      ({ peer, label, open, reliable, serialization, metadata, connectionId, ordered: dataChannel?.ordered, channelLabel: dataChannel?.label })),
    texts: () => texts.filter(entry => 'text' in entry),
    wire: () => env.wire,
    media: () => env.media(),
    states: () => env.states(),
    /** Opens a data connection and waits for it. */
    async dial(to, options = {}) {
      const connection = keep(peer.connect(to, options));
      await env.until(`a connection with ${to}`, () => connection.open);
    },
    /** Asks for a data connection and waits for nothing. */
    ask(to, options = {}) { keep(peer.connect(to, options)); },
    /** Sends to one peer, or to all. A string, or anything else that the serialization takes. */
    sendText(value, to) {
      for (const connection of to === undefined ? connections.filter(one => one.open) : [from(to)]) connection.send(value);
    },
    /** Sends `size` bytes of a known pattern; gives their SHA-256. */
    async sendBytes(size, to) {
      const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8)) & 255);
      from(to).send(bytes.buffer);
      return { bytes: size, sha256: await sha256(bytes.buffer) };
    },
    /** Calls with the camera, or with nothing to send. */
    call(to, nothing = false) { watch(peer.call(to, nothing ? new MediaStream() : camera)); },
    callWith(to, metadata) { watch(peer.call(to, camera, { metadata })); },
    /** Calls that nobody has answered: who, its id, what it said. */
    ringing: () => ringing.map(({ peer, connectionId, metadata }) => ({ peer, connectionId, metadata: metadata ?? null })),
    pickUp(from) { ringing.splice(ringing.findIndex(call => call.peer === from), 1)[0].answer(camera); },
    /** With whom there is a stream, or was, in order. */
    answered: () => [...new Set(answered)],
    hangUp(to) { calls.find(call => call.peer === to).close(); },
    closeConnection(to) { from(to).close(); },
    listAllPeers: () => new Promise(done => {
      const refused = error => done({ error: error.type, message: error.message });
      peer.once('error', refused);
      peer.listAllPeers(list => { peer.off('error', refused); done({ list: [...list].sort() }); });
    }),
    disconnect() { peer.disconnect(); },
    reconnect() { peer.reconnect(); },
    isDisconnected: () => peer.disconnected,
    isDestroyed: () => peer.destroyed,
    leave() { peer.destroy(); },
  };
}
