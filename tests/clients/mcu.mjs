// A mixed room in pages of one Chromium: each publishes a canvas of one colour and one tone, most of them watch the mix. argv: base, room
import { withBrowser } from './browser.mjs';
import { until } from './lib/until.mjs';

const [base, room] = process.argv.slice(2);
const COLOURS = { red: [255, 0, 0], green: [0, 255, 0], blue: [0, 0, 255], white: [255, 255, 255], yellow: [255, 255, 0], black: [0, 0, 0] };
const TONES = { red: 440, green: 700, blue: 1000, white: 1400, yellow: 1900 };
/** The middles of the four pictures. */
const PLACES = [[0.25, 0.2], [0.75, 0.2], [0.25, 0.7], [0.75, 0.7]];

/** Defines `window.member` in the page: one member of the room, by the page's own signalling. */
function inPage() {
  const peers = new Map();
  const waiting = new Map();
  const streams = new Map();
  let socket, samples, analyser, element;
  const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 180 });
  const picture = canvas.getContext('2d', { alpha: false });
  const look = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', { willReadFrequently: true });
  let drawing, count = 0;

  const draw = colour => {
    picture.fillStyle = colour;
    picture.fillRect(0, 0, canvas.width, canvas.height);
    // something moves, so that every frame is a new one
    picture.fillStyle = count++ % 2 ? '#777' : '#888';
    picture.fillRect(0, canvas.height - 8, 8, 8);
  };
  const gathered = pc => new Promise(done => {
    if (pc.iceGatheringState === 'complete') return done();
    pc.addEventListener('icegatheringstatechange', () => pc.iceGatheringState === 'complete' && done());
    setTimeout(done, 2000);
  });
  const answerTo = key => new Promise((done, fail) => waiting.set(key, { done, fail }));
  function hear(message) {
    const { type, peer } = message;
    for (const { id, name, streams: shown } of [message.member?.id ? message.member : [], ...(message.members ?? [])].flat()) {
      streams.set(id, { name, streams: shown.map(stream => stream.name) });
    }
    if (type === 'stream-up') streams.get(message.member).streams.push(message.stream.name);
    if (type === 'left') streams.delete(message.member);
    if (type === 'refused') waiting.get(message.re)?.fail(new Error(`${message.re}: ${message.message}`));
    waiting.get(peer ? `${type} ${peer}` : type)?.done(message);
  }
  async function offer(peer, pc, request) {
    peers.set(peer, pc);
    await pc.setLocalDescription();
    await gathered(pc);
    const [answer, up] = [answerTo(`answer ${peer}`), answerTo(`peer-up ${peer}`)];
    socket.send(JSON.stringify({ ...request, peer, sdp: pc.localDescription.sdp }));
    await pc.setRemoteDescription({ type: 'answer', sdp: (await answer).sdp });
    await up;
  }
  window.member = {
    async join(room, name) {
      socket = new WebSocket(`${location.origin.replace('http', 'ws')}/page`);
      socket.addEventListener('message', ({ data }) => hear(JSON.parse(data)));
      await new Promise(done => socket.addEventListener('open', done));
      const welcome = answerTo('welcome');
      socket.send(JSON.stringify({ type: 'join', room, name }));
      await welcome;
    },
    async publish(colour, tone) {
      draw(colour);
      drawing = setInterval(draw, 100, colour);
      const context = new AudioContext();
      const out = context.createMediaStreamDestination();
      const voice = new OscillatorNode(context, { frequency: tone });
      voice.connect(new GainNode(context, { gain: 0.15 })).connect(out);
      voice.start();
      const pc = new RTCPeerConnection();
      for (const track of [...canvas.captureStream(10).getTracks(), ...out.stream.getTracks()]) pc.addTransceiver(track, { direction: 'sendonly' });
      await offer('own', pc, { type: 'publish', stream: 'main' });
    },
    /** Plays the one stream that is shown of the others. */
    async watch() {
      const shown = [...streams].flatMap(([id, { streams }]) => streams.map(stream => ({ member: id, stream })));
      if (shown.length !== 1) throw new Error(`these are shown: ${JSON.stringify([...streams])}`);
      const pc = new RTCPeerConnection();
      for (const kind of ['video', 'audio']) pc.addTransceiver(kind, { direction: 'recvonly' });
      element = Object.assign(document.createElement('video'), { autoplay: true, playsInline: true, srcObject: new MediaStream() });
      const context = new AudioContext();
      analyser = new AnalyserNode(context, { fftSize: 16384 });
      samples = new Float32Array(analyser.fftSize);
      pc.ontrack = ({ track }) => {
        element.srcObject.addTrack(track);
        // the element pulls the sound, the analyser listens to it
        if (track.kind === 'audio') context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
      };
      document.body.append(element);
      await offer('mix', pc, { type: 'play', ...shown[0] });
      return [...streams.values()];
    },
    colour(x, y) {
      if (!element.videoWidth) return null;
      look.drawImage(element, x * element.videoWidth, y * element.videoHeight, 1, 1, 0, 0, 1, 1);
      return [...look.getImageData(0, 0, 1, 1).data].slice(0, 3);
    },
    /** How much there is of a tone, 1 being full scale. */
    tone(frequency) {
      analyser.getFloatTimeDomainData(samples);
      const step = 2 * Math.PI * frequency / analyser.context.sampleRate;
      let [real, imaginary] = [0, 0];
      samples.forEach((sample, n) => {
        real += sample * Math.cos(step * n);
        imaginary += sample * Math.sin(step * n);
      });
      return 2 * Math.hypot(real, imaginary) / samples.length;
    },
    /** Holds the picture still, as a camera that fails does. */
    freeze: () => clearInterval(drawing),
    thaw: colour => { drawing = setInterval(draw, 100, colour); },
    /** The phone is turned: what was wide is high. */
    turn: () => Object.assign(canvas, { width: 180, height: 320 }),
    async figures() {
      const pc = peers.get('mix');
      const video = [...(await pc.getStats()).values()].find(s => s.type === 'inbound-rtp' && s.kind === 'video');
      return { state: pc.connectionState, frames: video?.framesDecoded ?? 0 };
    },
    leave() {
      socket.send(JSON.stringify({ type: 'leave' }));
      for (const pc of peers.values()) pc.close();
      clearInterval(drawing);
    },
  };
}

/** As a canvas takes it: the name `green` is another green there. */
const css = name => `rgb(${COLOURS[name]})`;
const near = (seen, want) => seen?.every((value, n) => Math.abs(value - want[n]) < 70);
const dimmed = colour => colour.map(value => value * 0.4);

/** Waits until every viewer sees these colours at these places. */
async function see(viewers, what, wanted) {
  for (const [name, page] of Object.entries(viewers)) {
    let seen;
    const look = async () => {
      seen = await page.evaluate(places => places.map(([x, y]) => window.member.colour(x, y)), wanted.map(([place]) => place));
      return seen.every((colour, n) => near(colour, wanted[n][1]));
    };
    await until(what, look).catch(() => { throw new Error(`${name} does not see ${what}: ${JSON.stringify(seen)}, not ${JSON.stringify(wanted)}`); });
  }
}
/** Waits until every viewer hears the tones of these colours, but for its own, and no other. */
async function hear(viewers, what, colours) {
  for (const [name, page] of Object.entries(viewers)) {
    let heard;
    const listen = async () => {
      heard = await page.evaluate(tones => tones.map(([colour, tone]) => [colour, window.member.tone(tone)]), Object.entries(TONES));
      return heard.every(([colour, loud]) => (colours.includes(colour) && colour !== name ? loud > 0.03 : loud < 0.01));
    };
    await until(what, listen).catch(() => { throw new Error(`${name} does not hear ${what}: ${JSON.stringify(heard)}`); });
  }
}
const grid = (...names) => names.map((name, n) => [PLACES[n], COLOURS[name]]);

await withBrowser(async open => {
  const enter = async name => {
    const page = await open(`${base}/healthz`);
    await page.evaluate(inPage);
    await page.evaluate(([room, name]) => window.member.join(room, name), [room, name]);
    await page.evaluate(([colour, tone]) => window.member.publish(colour, tone), [css(name), TONES[name]]);
    return page;
  };
  const mixOf = async page => (await page.evaluate(() => fetch('/api/v1/sources').then(r => r.json()))).find(({ source }) => source === `mix:${room}`);
  const pages = {};
  for (const name of ['red', 'green', 'blue', 'white']) pages[name] = await enter(name);
  const before = await mixOf(pages.red);
  const viewers = Object.fromEntries(['red', 'green', 'blue'].map(name => [name, pages[name]]));
  const shown = {};
  for (const [name, page] of Object.entries(viewers)) shown[name] = await page.evaluate(() => window.member.watch());
  await see(viewers, 'all four', grid('red', 'green', 'blue', 'white'));
  await hear(viewers, 'the three others', ['red', 'green', 'blue', 'white']);
  const mix = await mixOf(pages.red);

  // one leaves, another comes: nobody else moves, and no connection is made anew
  delete viewers.blue;
  await pages.blue.evaluate(() => window.member.leave());
  await see(viewers, 'three', grid('red', 'green', 'black', 'white'));
  await hear(viewers, 'two others', ['red', 'green', 'white']);
  pages.yellow = await enter('yellow');
  await see(viewers, 'the newcomer', grid('red', 'green', 'yellow', 'white'));
  await hear(viewers, 'three others again', ['red', 'green', 'yellow', 'white']);

  await pages.white.evaluate(() => window.member.turn());
  const [left, right] = [[0.52, 0.7], [0.98, 0.7]];
  await see(viewers, 'a picture that was turned', [...grid('red', 'green', 'yellow', 'white'), [left, COLOURS.black], [right, COLOURS.black]]);

  await pages.green.evaluate(() => window.member.freeze());
  await see(viewers, 'a frozen picture', [...grid('red'), [PLACES[1], dimmed(COLOURS.green)], [PLACES[2], COLOURS.yellow], [PLACES[3], COLOURS.white]]);
  await hear(viewers, 'who is frozen', ['red', 'green', 'yellow', 'white']);
  await pages.green.evaluate(colour => window.member.thaw(colour), css('green'));
  await see(viewers, 'a picture that moves again', grid('red', 'green', 'yellow', 'white'));

  const layout = await pages.red.evaluate(async room => {
    const put = body => fetch(`/api/v1/rooms/${room}/mix`, { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
    const [changed, refused] = [await put({ layout: 'speaker' }), await put({ layout: 'circle' })];
    return { status: changed.status, body: await changed.json(), refused: refused.status, now: await (await fetch(`/api/v1/rooms/${room}/mix`)).json() };
  }, room);
  // beside the large one there is nothing, nor left of the three small ones
  await see(viewers, 'one large, three small', [[[0.06, 0.3], COLOURS.black], [[0.1, 0.9], COLOURS.black]]);
  const figures = {};
  for (const [name, page] of Object.entries(viewers)) figures[name] = await page.evaluate(() => window.member.figures());
  for (const name of ['red', 'green', 'white', 'yellow']) await pages[name].evaluate(() => window.member.leave());
  const idle = await until('nothing is mixed for nobody', async () => {
    const now = await mixOf(pages.red);
    return now.state === 'idle' && now;
  });
  return { before, shown, mix, layout, figures, idle };
}, { flags: ['--disable-background-timer-throttling', '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows'] });
