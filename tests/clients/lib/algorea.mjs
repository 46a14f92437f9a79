// A client of the algorea workflow in a page, written from the document alone, in both of its variants.
import { pageClient } from './page_client.mjs';

/**
 * Opens the websocket `url` (with its query) and speaks `variant`, `document` or `branch`. Like any newcomer it offers to each peer it is
 * told of, and answers those that come later. `label` names its data channel.
 */
export const connect = (open, { page, url, variant = 'document', label = 'chat' }) => pageClient(open, { page, start, options: { url, variant, label } });

/** Runs in the page. */
async function start({ url, variant, label }, env) {
  const words = variant === 'branch'
    ? { list: 'peers', candidate: 'ice-candidate', member: 'iceCandidate', forward: 'forward-ice-candidate' }
    : { list: 'connected-peers', candidate: 'icecandidate', member: 'candidate', forward: 'forward-icecandidate' };
  const peers = new Map();
  const frames = [];
  const texts = [];
  const errors = [];
  let closed = null;
  const socket = new env.WebSocket(url);
  socket.addEventListener('close', ({ code }) => { closed = code; });
  const send = message => socket.send(JSON.stringify(message));

  /** A connection with its own channel to write to; what it reads from is the channel the other announces. */
  function peerOf(id) {
    const pc = new env.RTCPeerConnection({ iceServers: [] });
    const peer = { pc, own: pc.createDataChannel(label), other: null, described: false, held: [], said: false, unsaid: [] };
    peers.set(id, peer);
    pc.addEventListener('icecandidate', ({ candidate }) => {
      const message = { action: words.forward, toPeerId: id, [words.member]: candidate?.toJSON() ?? null };
      if (peer.said) send(message); else peer.unsaid.push(message);
    });
    pc.addEventListener('datachannel', ({ channel }) => {
      peer.other = channel;
      channel.addEventListener('message', ({ data }) => texts.push({ from: id, text: data }));
      channel.addEventListener('close', () => { peer.closed = true; });
    });
    return peer;
  }
  /** Sends a description; candidates follow it, never precede it. */
  async function describe(id, peer, action, name) {
    await peer.pc.setLocalDescription();
    send({ action, toPeerId: id, [name]: peer.pc.localDescription.toJSON() });
    peer.said = true;
    for (const message of peer.unsaid.splice(0)) send(message);
  }
  async function accept(peer, description) {
    await peer.pc.setRemoteDescription(description);
    peer.described = true;
    for (const candidate of peer.held.splice(0)) await peer.pc.addIceCandidate(candidate);
  }
  async function handle(frame) {
    const peer = peers.get(frame.fromPeerId);
    if (frame.type === words.list) {
      for (const id of frame.peerIds) await describe(id, peerOf(id), 'forward-offer', 'offer');
    } else if (frame.type === 'offer') {
      const made = peerOf(frame.fromPeerId);
      await accept(made, frame.offer);
      await describe(frame.fromPeerId, made, 'forward-answer', 'answer');
    } else if (frame.type === 'answer') {
      await accept(peer, frame.answer);
    } else if (frame.type === words.candidate) {
      if (!peer) throw new Error(`a candidate of ${frame.fromPeerId}, who is not known`);
      const candidate = new env.RTCIceCandidate(frame[words.member]);
      if (peer.described) await peer.pc.addIceCandidate(candidate); else peer.held.push(candidate);
    } else if (frame.type !== 'error') {
      throw new Error(`a frame of unknown type ${frame.type}`);
    }
  }
  socket.addEventListener('message', ({ data }) => {
    const frame = JSON.parse(data);
    frames.push(frame);
    handle(frame).catch(error => errors.push(`${frame.type}: ${error.message}`));
  });
  await env.until('the list of peers', () => frames.length > 0);
  const linked = () => [...peers].filter(([, peer]) => peer.own.readyState === 'open' && peer.other?.readyState === 'open');
  return {
    /** Nobody learns the own id: undefined, as the workflow has it. */
    id: () => undefined,
    peers: () => linked().map(([id]) => id),
    sendText(text, to) {
      for (const [id, peer] of linked()) if (to === undefined || to === null || to === id) peer.own.send(text);
    },
    texts: () => texts,
    media: () => env.media(),
    states: () => env.states(),
    frames: () => frames,
    errors: () => errors,
    closed: () => [...peers].filter(([, peer]) => peer.closed).map(([id]) => id),
    /** The close code of the socket, once it is closed. */
    socketClosed: () => closed,
    /** Any message to the server. */
    say: message => send(message),
    sayText: text => socket.send(text),
    /** The socket first; when it is closed, the connections. */
    async leave() {
      const gone = new Promise(done => socket.addEventListener('close', done));
      socket.close();
      await gone;
      for (const { pc } of peers.values()) pc.close();
    },
  };
}
