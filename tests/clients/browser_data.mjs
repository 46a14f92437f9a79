// node browser_data.mjs BASE: data channels of a real browser against `Shards`, alone and beside sound, whoever offers.
import { withBrowser } from './browser.mjs';

const [base] = process.argv.slice(2);

/** Runs in the page. `how`: who offers, and what sound the browser sends and takes. */
async function scenario({ offerer, sound }) {
  const limit = 60000;
  const within = (what, promise) => Promise.race([promise, new Promise((_, no) => setTimeout(() => no(new Error(`${what}: not in time`)), limit))]);
  const post = async (path, body) => {
    const response = await fetch(path, { method: 'POST', body });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response;
  };
  const pc = new RTCPeerConnection();
  const gathered = () => new Promise(done => {
    const look = () => pc.iceGatheringState === 'complete' && done();
    pc.addEventListener('icegatheringstatechange', look);
    look();
  });
  let stream;
  if (sound === 'both' || sound === 'up') {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    pc.addTrack(stream.getTracks()[0], stream);
  }
  const log = [];
  const watch = channel => {
    channel.binaryType = 'arraybuffer';
    for (const event of ['open', 'error', 'closing', 'close']) channel.addEventListener(event, () => log.push(`${channel.label} ${event}`));
    return channel;
  };
  const opened = channel => within(`${channel.label} opens`, new Promise(done => channel.readyState === 'open' ? done() : channel.addEventListener('open', done)));
  const theirs = new Map();
  pc.ondatachannel = ({ channel }) => theirs.set(channel.label, watch(channel));
  let peer, main;
  if (offerer === 'browser') {
    main = watch(pc.createDataChannel('chat', { protocol: 'lines' }));
    await pc.setLocalDescription(await pc.createOffer());
    await gathered();
    const response = await post(`/offer/${sound}`, pc.localDescription.sdp);
    peer = response.headers.get('x-peer');
    await pc.setRemoteDescription({ type: 'answer', sdp: await response.text() });
  } else {
    const response = await fetch(`/ask/${sound}`);
    peer = response.headers.get('x-peer');
    await pc.setRemoteDescription({ type: 'offer', sdp: await response.text() });
    await pc.setLocalDescription(await pc.createAnswer());
    await gathered();
    await post(`/answer/${peer}`, pc.localDescription.sdp);
    await within('portico opens', new Promise(done => { const timer = setInterval(() => theirs.has('portico') && done(clearInterval(timer)), 20); }));
    main = theirs.get('portico');
  }
  await opened(main);

  // everything comes back as it went
  const echoes = (channel, messages) => within(`${messages.length} echoes`, new Promise(done => {
    const got = [];
    const hear = ({ data }) => { got.push(data); if (got.length === messages.length) { channel.removeEventListener('message', hear); done(got); } };
    channel.addEventListener('message', hear);
    messages.forEach(message => channel.send(message));
  }));
  const bytes = (n, seed) => Uint8Array.from({ length: n }, (_, i) => (i * 7 + seed) & 255).buffer;
  const same = (a, b) => typeof a === typeof b && (typeof a === 'string' ? a === b
    : a.byteLength === b.byteLength && new Uint8Array(a).every((byte, i) => byte === new Uint8Array(b)[i]));
  const kinds = ['héllo ✓', '', bytes(0, 0), bytes(5, 1), bytes(65536, 3), 'x'.repeat(65536), bytes(262144, 9)];
  const back = await echoes(main, kinds);
  const kindsKept = kinds.map((message, i) => same(message, back[i]));
  const numbers = Array.from({ length: 1000 }, (_, n) => `message ${n}`);
  const inOrder = JSON.stringify(await echoes(main, numbers)) === JSON.stringify(numbers);

  // a second channel, unordered, closed by the browser
  const second = watch(pc.createDataChannel('second', { ordered: false }));
  await opened(second);
  await echoes(second, ['one']);
  const closed = channel => within(`${channel.label} closes`, new Promise(done => channel.readyState === 'closed' ? done() : channel.addEventListener('close', done)));
  second.close();
  await closed(second);
  // a third, closed by Portico after its last word
  const third = watch(pc.createDataChannel('third'));
  await opened(third);
  const lastWord = new Promise(done => { third.onmessage = ({ data }) => done(data); });
  third.send('close this channel');
  const word = await within('last word', lastWord);
  await closed(third);

  let audio = {};
  if (sound !== 'none') {
    for (let i = 0; i < 200; i++) {
      const stats = [...(await pc.getStats()).values()];
      const of = type => stats.find(entry => entry.type === type && entry.kind === 'audio');
      audio = { received: of('inbound-rtp')?.packetsReceived ?? 0, sent: of('outbound-rtp')?.packetsSent ?? 0 };
      if ((sound === 'up' || audio.received > 20) && (sound === 'down' || audio.sent > 20)) break;
      await new Promise(done => setTimeout(done, 50));
    }
  }
  const transports = new Set([...(await pc.getStats()).values()].filter(entry => entry.type === 'transport').map(entry => entry.id)).size;

  // the browser restarts ICE: the channels stay
  const ufrag = sdp => /a=ice-ufrag:(\S+)/.exec(sdp)[1];
  const before = [pc.localDescription, pc.remoteDescription].map(({ sdp }) => ufrag(sdp));
  await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
  await gathered();
  const answer = await (await post(`/describe/${peer}`, pc.localDescription.sdp)).text();
  await pc.setRemoteDescription({ type: 'answer', sdp: answer });
  const restarted = ufrag(pc.localDescription.sdp) !== before[0] && ufrag(answer) !== before[1];
  const usesNew = async () => {
    const stats = await pc.getStats();
    const transport = [...stats.values()].find(entry => entry.type === 'transport');
    return stats.get(stats.get(transport.selectedCandidatePairId)?.localCandidateId)?.usernameFragment === ufrag(pc.localDescription.sdp);
  };
  await within('the new pair', (async () => { while (!await usesNew()) await new Promise(done => setTimeout(done, 50)); })());
  const afterRestart = restarted && (await echoes(main, ['still here']))[0] === 'still here';

  // Portico ends the connection: the channel hears `close`, not `error`, also not from what comes after
  main.send('end this connection');
  await closed(main);
  await new Promise(done => setTimeout(done, 700));
  stream?.getTracks().forEach(track => track.stop());
  pc.close();
  const events = await (await fetch(`/events/${peer}`)).json();
  return { offerer, sound, kindsKept, inOrder, word, audio, transports, afterRestart, log, events, protocol: main.protocol };
}

/** A channel is added to a connection that began with sound alone. */
async function late() {
  const pc = new RTCPeerConnection();
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  pc.addTrack(stream.getTracks()[0], stream);
  const offer = async path => {
    await pc.setLocalDescription(await pc.createOffer());
    await new Promise(done => { const look = () => pc.iceGatheringState === 'complete' && done(); pc.onicegatheringstatechange = look; look(); });
    const response = await fetch(path, { method: 'POST', body: pc.localDescription.sdp });
    await pc.setRemoteDescription({ type: 'answer', sdp: await response.text() });
    return response.headers.get('x-peer');
  };
  const peer = await offer('/offer/both');
  await new Promise(done => { const look = () => pc.connectionState === 'connected' && done(); pc.onconnectionstatechange = look; look(); });
  const channel = pc.createDataChannel('late');
  await offer(`/describe/${peer}`);
  const heard = await new Promise((done, no) => {
    channel.onmessage = ({ data }) => done(data);
    // on loopback it may be open before the answer is taken
    if (channel.readyState === 'open') channel.send('here');
    else channel.onopen = () => channel.send('here');
    setTimeout(() => no(new Error('the late channel is silent')), 60000);
  });
  stream.getTracks().forEach(track => track.stop());
  pc.close();
  return heard;
}

/** The browser leaves, by `pc.close()`. */
async function leave() {
  const pc = new RTCPeerConnection();
  const channel = pc.createDataChannel('chat');
  await pc.setLocalDescription(await pc.createOffer());
  await new Promise(done => { pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && done(); });
  const response = await fetch('/offer/none', { method: 'POST', body: pc.localDescription.sdp });
  const peer = response.headers.get('x-peer');
  await pc.setRemoteDescription({ type: 'answer', sdp: await response.text() });
  await new Promise(done => { if (channel.readyState === 'open') done(); else channel.onopen = done; });
  pc.close();
  for (let i = 0; i < 100; i++) {
    const events = await (await fetch(`/events/${peer}`)).json();
    if (events.some(event => event.startsWith('down'))) return events;
    await new Promise(done => setTimeout(done, 50));
  }
  return ['never down'];
}

await withBrowser(async open => {
  const page = await open(`${base}/`);
  const runs = [];
  for (const offerer of ['browser', 'portico']) {
    for (const sound of ['none', 'up', 'down', 'both']) {
      // a browser that offers without sound of its own has no section for Portico's
      if (offerer === 'browser' && sound === 'down') continue;
      runs.push(await page.evaluate(scenario, { offerer, sound }));
    }
  }
  return { runs, late: await page.evaluate(late), left: await page.evaluate(leave) };
});
