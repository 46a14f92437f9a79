// The vamp client's sequence (its `usePeers`) with the published socket.io-client, 2.5.0 or 4, and simple-peer 9.11.1, trickle off; in Node,
// or in a page where it can record its microphone.
import { createRequire } from 'node:module';
import { nodeEnv } from './node_client.mjs';
import { pageClient } from './page_client.mjs';

const require = createRequire(import.meta.url);

/**
 * Joins `vamp` on the Socket.IO server `url`. `client`: major version of socket.io-client, 2 or 4. `audio`: the microphone is granted before
 * the join, so offers carry it (pages only); `video`: the camera as well. `join`: the event's name, `join vamp` or the older `join room`.
 * `transports`: those of socket.io; polling first by default. `maxMessage`: the largest message in bytes that its descriptions say it takes.
 */
export function connect(open, { page, url, vamp, client = 2, user = 'u', audio = false, video = false, join = 'join vamp', transports, maxMessage }) {
  const options = { url, vamp, user, audio, video, join, transports, maxMessage };
  const socketIo = client === 2 ? 'socket.io-client-2' : 'socket.io-client-4';
  if (open) return pageClient(open, { page, bundles: [`${socketIo}/dist/socket.io.js`, 'simple-peer/simplepeer.min.js'], start, options });
  return start(options, { ...nodeEnv(), io: require(socketIo), SimplePeer: require('simple-peer') });
}

/** Runs in the page, or in Node. */
async function start({ url, vamp, user, audio, video, join, transports, maxMessage }, env) {
  const peers = new Map();
  const events = [];
  const frames = [];
  const stream = audio ? await navigator.mediaDevices.getUserMedia({ audio: true, video }) : undefined;
  const socket = env.io(url, { forceNew: true, ...transports ? { transports } : {} });
  const note = (name, value) => events.push({ [name]: value });
  const told = signal => maxMessage && signal.sdp ? { ...signal, sdp: signal.sdp.replace(/a=max-message-size:\d+/, `a=max-message-size:${maxMessage}`) } : signal;

  /** One peer per other member, as the client makes it. */
  function peerOf(id, initiator) {
    const peer = new env.SimplePeer({ initiator, trickle: false, stream, wrtc: env.wrtc, config: { iceServers: [] } });
    peers.set(id, peer);
    peer.on('data', data => frames.push({ from: id, bytes: new Uint8Array(data) }));
    peer.on('connect', () => note('connect', id));
    peer.on('close', () => { note('close', id); peers.delete(id); });
    peer.on('error', error => note('error', { id, message: error.message }));
    return peer;
  }
  socket.on('all users', users => {
    note('all users', users);
    for (const id of users) peerOf(id, true).on('signal', signal => socket.emit('sending signal', { userToSignal: id, callerID: socket.id, signal: told(signal) }));
  });
  socket.on('user joined', ({ signal, callerID }) => {
    note('user joined', callerID);
    if (peers.has(callerID)) return;
    const peer = peerOf(callerID, false);
    peer.on('signal', answer => socket.emit('returning signal', { signal: told(answer), callerID }));
    peer.signal(signal);
  });
  socket.on('receiving returned signal', ({ signal, id }) => {
    note('returned', id);
    peers.get(id).signal(signal);
  });
  socket.on('user left', id => note('user left', id));
  socket.on('room full', () => note('room full', true));
  socket.on('connect', () => { if (!events.some(event => event.joined)) { note('joined', socket.id); socket.emit(join, vamp); } });
  socket.on('disconnect', reason => note('disconnect', reason));
  await env.until('the list of users', () => events.some(event => event['all users'] || event['room full']));
  const linked = () => [...peers].filter(([, peer]) => peer.connected);
  const text = bytes => new TextDecoder().decode(bytes);
  /** A frame that is a JSON header; slices of a recording never start like one. */
  const header = bytes => {
    if (bytes[0] !== 0x7b) return undefined;
    try { return JSON.parse(text(bytes)); } catch { return undefined; }
  };
  const clips = () => {
    const found = [];
    for (const { from, bytes } of frames) {
      const head = header(bytes);
      if (head) found.push({ from, head, slices: [] });
      else found.findLast(clip => clip.from === from)?.slices.push(bytes);
    }
    return found;
  };
  const joined = slices => slices.reduce((all, slice) => { const both = new Uint8Array(all.length + slice.length); both.set(all); both.set(slice, all.length); return both; }, new Uint8Array());
  const digest = bytes => [...bytes].reduce((sum, byte) => (sum * 31 + byte) >>> 0, 7);
  const sendAll = data => { for (const [, peer] of linked()) peer.send(data); };
  return {
    id: () => events.find(event => event.joined)?.joined,
    transport: () => socket.io.engine.transport.name,
    events: () => events,
    peers: () => linked().map(([id]) => id),
    sendText(value, to) {
      for (const [id, peer] of linked()) if (to === undefined || to === null || to === id) peer.send(value);
    },
    /** Every frame as text. */
    texts: () => frames.map(({ from, bytes }) => ({ from, text: text(bytes) })),
    wire: () => env.wire,
    media: () => env.media(),
    states: () => env.states(),
    /** What arrived between headers: `{ from, head, slices, bytes, largest, digest }`. */
    clips: () => clips().map(({ from, head, slices }) => {
      const all = joined(slices);
      return { from, head, slices: slices.length, bytes: all.length, largest: Math.max(0, ...slices.map(slice => slice.length)), digest: digest(all) };
    }),
    /** How many frames came in all. */
    frames: () => frames.length,
    /** Sends a header and `count` slices of `size` bytes, 30 ms apart as a recorder would; gives their digest. */
    async sendClip(head, count, size = 500, stop) {
      sendAll(JSON.stringify(head));
      const slices = [];
      for (let i = 0; i < count; i++) {
        // the first byte is never that of a header
        const slice = Uint8Array.from({ length: size }, (_, at) => at === 0 ? 1 : (i * 17 + at * 3) & 255);
        slices.push(slice);
        sendAll(slice);
        await env.sleep(30);
        if (stop?.now) break;
      }
      return { slices: slices.length, bytes: slices.length * size, digest: digest(joined(slices)) };
    },
    /** Records the microphone in slices of 30 ms for a while and sends each to all; gives the digest of what left. */
    async record(startTime, milliseconds) {
      sendAll(JSON.stringify({ userId: user, startTime }));
      const recorder = new MediaRecorder(stream, { mimeType: 'audio/webm', audioBitsPerSecond: 128000 });
      const slices = [];
      // blobs are read one after the other, so that slices keep their order
      let last = Promise.resolve();
      recorder.addEventListener('dataavailable', ({ data }) => {
        last = last.then(async () => {
          const slice = new Uint8Array(await data.arrayBuffer());
          slices.push(slice);
          sendAll(slice);
        });
      });
      const stopped = new Promise(done => recorder.addEventListener('stop', done));
      recorder.start(30);
      await env.sleep(milliseconds);
      recorder.stop();
      await stopped;
      await last;
      const all = joined(slices);
      return { slices: slices.length, empty: slices.filter(slice => slice.length === 0).length, bytes: all.length, digest: digest(all) };
    },
    /** Decodes clip number `index`: its seconds, and whether it is not silent. */
    async decode(index) {
      const all = joined(clips()[index].slices);
      const sound = await new OfflineAudioContext(1, 48000, 48000).decodeAudioData(all.buffer.slice(0));
      const loudest = sound.getChannelData(0).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      return { seconds: sound.duration, loudest };
    },
    /** Leaves as the client does when its page is closed: the socket, then the peers. */
    leave() {
      socket.close();
      for (const [, peer] of [...peers]) peer.destroy();
    },
    /** Closes the socket only. */
    disconnect() { socket.close(); },
  };
}
