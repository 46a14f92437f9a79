// A client written from the tribe document alone, in a page. There is no published one.
import { createHmac } from 'node:crypto';
import { pageClient } from './page_client.mjs';

const part = value => Buffer.from(JSON.stringify(value)).toString('base64url');
/** A bearer of this user; a gateway without a secret does not look at the signature. */
export function bearer(userId, secret = 'any') {
  const head = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ userId })}`;
  return `${head}.${createHmac('sha256', secret).update(head).digest('base64url')}`;
}

/**
 * Opens the websocket `url`; joins nothing by itself unless `room` is given. With `media` it publishes the fake camera after the join.
 * It answers each downlink the server offers, and each offer another member relays.
 */
export async function connect(open, { url, room, user = 'u', media = false }) {
  // the gateway takes this websocket from its own pages only
  const page = new URL('/healthz', url.replace(/^ws/, 'http')).href;
  const client = await pageClient(open, { page, start, options: { url } });
  if (room !== undefined) await client.join(room, bearer(user));
  if (room !== undefined && media) await client.publish();
  return client;
}

/** Runs in the page. */
async function start({ url }, env) {
  const frames = [];
  const links = new Map();
  let uplink, own;
  const socket = new env.WebSocket(url);
  const send = (a, d) => socket.send(JSON.stringify({ a, d }));
  const trickle = (pc, to) => pc.addEventListener('icecandidate', ({ candidate }) => candidate && send('exchangeCandidate', { to, candidate: candidate.toJSON() }));
  const linkTo = id => {
    const pc = new env.RTCPeerConnection({ iceServers: [] });
    trickle(pc, id);
    links.set(id, pc);
    return pc;
  };
  async function onFrame({ a, d }) {
    const from = d?.from?.socketId;
    const pc = from === 'publisher' ? uplink : links.get(from);
    if (a === 'eventExchangeCandidate') return pc?.addIceCandidate(d.candidate);
    if (a !== 'eventExchangeSdp') return;
    if (d.sdp.type === 'answer') return pc.setRemoteDescription(d.sdp);
    // a downlink that the server offers, or another member's own offer
    const link = pc ?? linkTo(from);
    await link.setRemoteDescription(d.sdp);
    await link.setLocalDescription();
    send('exchangeSdp', { to: from, sdp: link.localDescription.toJSON() });
  }
  socket.addEventListener('message', ({ data }) => { const frame = JSON.parse(data); frames.push(frame); onFrame(frame); });
  await new Promise((done, failed) => { socket.addEventListener('open', done); socket.addEventListener('error', failed); });
  const wait = (a, count = 1) => env.until(`${count} of ${a} in ${frames.map(frame => frame.a)}`, () => frames.filter(frame => frame.a === a)[count - 1]);
  return {
    send, wait,
    frames: () => frames,
    raw: text => socket.send(text),
    id: () => own,
    async join(room, bearer) {
      send('join', { roomId: room, bearer, platform: 'Web', orientation: 90, camera: 'front', networkType: 'wifi' });
      const answer = await wait('joinR');
      own = answer.d?.socketId;
      return answer;
    },
    async publish() {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 360 } });
      uplink = new env.RTCPeerConnection({ iceServers: [] });
      stream.getTracks().forEach(track => uplink.addTrack(track, stream));
      trickle(uplink, 'publisher');
      await uplink.setLocalDescription();
      send('exchangeSdp', { to: 'publisher', sdp: uplink.localDescription.toJSON() });
    },
    /** Members that were here at the join or wrote since, without those that left. */
    peers() {
      const ids = new Set((frames.find(frame => frame.a === 'joinR')?.d?.sessions ?? []).map(session => session.socketId));
      for (const { a, d } of frames) {
        if (a === 'eventLeave') ids.delete(d.socketId);
        else if (d?.from?.socketId && d.from.socketId !== 'publisher') ids.add(d.from.socketId);
      }
      return [...ids];
    },
    /** A message of the document, which the server carries. */
    sendText(text, to) { for (const id of to === undefined || to === null ? this.peers() : [to]) send('sendMessage', { to: id, message: text }); },
    texts: () => frames.filter(frame => frame.a === 'eventMessage').map(({ d }) => ({ from: d.from.socketId, text: d.message })),
    media: () => env.media(),
    links: () => links.size,
    states: () => env.states(),
    leave() {
      socket.close(1000);
      uplink?.close();
      for (const pc of links.values()) pc.close();
    },
  };
}
