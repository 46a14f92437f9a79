// node tribe.mjs BASE ROOM: two clients written from the tribe document alone, in two pages of Chromium. Each publishes its fake
// camera and plays the other's; then messages, orientation, a clean leave.
import { createHmac } from 'node:crypto';
import { withBrowser } from './browser.mjs';

const [base, room] = process.argv.slice(2);
const part = value => Buffer.from(JSON.stringify(value)).toString('base64url');
const bearer = userId => {
  const head = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ userId })}`;
  return `${head}.${createHmac('sha256', 'any').update(head).digest('base64url')}`;
};

/** Defines `window.tribe` in a page. */
function client() {
  const sleep = ms => new Promise(done => setTimeout(done, ms));
  const frames = [];
  const downlinks = new Map();
  let socket;
  const send = (a, d) => socket.send(JSON.stringify({ a, d }));
  const trickle = (pc, to) => { pc.onicecandidate = e => e.candidate && send('exchangeCandidate', { to, candidate: e.candidate.toJSON() }); };
  async function onFrame({ a, d }) {
    if (a !== 'eventExchangeSdp') return;
    if (d.sdp.type === 'answer') return window.uplink.setRemoteDescription(d.sdp);
    // a downlink that the server offers
    const from = d.from.socketId;
    const pc = new RTCPeerConnection();
    const element = Object.assign(document.createElement('video'), { autoplay: true });
    element.srcObject = new MediaStream();
    document.body.append(element);
    pc.ontrack = e => element.srcObject.addTrack(e.track);
    trickle(pc, from);
    downlinks.set(from, { pc, element });
    await pc.setRemoteDescription(d.sdp);
    await pc.setLocalDescription(await pc.createAnswer());
    send('exchangeSdp', { to: from, sdp: pc.localDescription.toJSON() });
  }
  window.tribe = {
    frames, send,
    async open(url) {
      socket = new WebSocket(url);
      socket.onmessage = e => { const frame = JSON.parse(e.data); frames.push(frame); onFrame(frame); };
      await new Promise((done, failed) => { socket.onopen = done; socket.onerror = failed; });
    },
    raw: text => socket.send(text),
    close: () => socket.close(1000),
    async wait(a, count = 1) {
      for (let i = 0; i < 300; i++) {
        const found = frames.filter(f => f.a === a);
        if (found.length >= count) return found[count - 1];
        await sleep(100);
      }
      throw new Error(`no ${a} in ${JSON.stringify(frames.map(f => f.a))}`);
    },
    async publish() {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 360 } });
      const pc = window.uplink = new RTCPeerConnection();
      stream.getTracks().forEach(track => pc.addTrack(track, stream));
      trickle(pc, 'publisher');
      await pc.setLocalDescription(await pc.createOffer());
      send('exchangeSdp', { to: 'publisher', sdp: pc.localDescription.toJSON() });
    },
    async watch(frames = 30) {
      for (let i = 0; i < 300; i++) {
        for (const { pc } of downlinks.values()) {
          const stats = [...(await pc.getStats()).values()];
          const video = stats.find(s => s.type === 'inbound-rtp' && s.kind === 'video');
          const audio = stats.find(s => s.type === 'inbound-rtp' && s.kind === 'audio');
          if ((video?.framesDecoded ?? 0) >= frames && (audio?.totalAudioEnergy ?? 0) > 0) {
            return { framesDecoded: video.framesDecoded, audioEnergy: audio.totalAudioEnergy, downlinks: downlinks.size };
          }
        }
        await sleep(100);
      }
      throw new Error('no picture and sound on any downlink');
    },
  };
}

await withBrowser(async open => {
  const url = `${base.replace('http', 'ws')}/api`;
  const [a, b] = [await open(`${base}/healthz`), await open(`${base}/healthz`)];
  for (const page of [a, b]) {
    await page.evaluate(client);
    await page.evaluate(url => tribe.open(url), url);
  }
  const join = (page, user) => page.evaluate(([room, bearer]) => {
    tribe.send('join', { roomId: room, bearer, platform: 'Web', orientation: 90, camera: 'front', networkType: 'wifi' });
    return tribe.wait('joinR');
  }, [room, bearer(user)]);
  const early = await a.evaluate(() => { tribe.send('sendMessage', { to: 'x', message: 1 }); return tribe.wait('sendMessageR'); });
  const garbage = await a.evaluate(() => { tribe.raw('{not json'); return tribe.wait('generalR'); });
  const joinA = await join(a, 'u1');
  await a.evaluate(() => tribe.publish());
  await a.evaluate(() => tribe.wait('eventWebrtcUp'));
  const joinB = await join(b, 'u2');
  await b.evaluate(() => tribe.publish());
  const seenByA = await a.evaluate(() => tribe.watch());
  const seenByB = await b.evaluate(() => tribe.watch());
  const message = await a.evaluate(to => { tribe.send('sendMessage', { to, message: { isVideoEnabled: false } }); return tribe.wait('sendMessageR', 2); }, joinB.d.socketId);
  const told = await b.evaluate(() => tribe.wait('eventMessage'));
  await b.evaluate(() => tribe.send('orientationChange', { orientation: 0, camera: 'back' }));
  const turned = await a.evaluate(() => tribe.wait('eventOrientationChange', 2));
  await b.evaluate(() => tribe.close());
  const left = await a.evaluate(() => tribe.wait('eventLeave'));
  const order = await a.evaluate(() => tribe.frames.map(f => f.a));
  return { early, garbage, joinA, joinB, seenByA, seenByB, message, told, turned, left, order };
});
