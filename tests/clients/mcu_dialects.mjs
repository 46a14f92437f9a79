// node mcu_dialects.mjs BASE ROOM CLIENT: a visitor of the page and one client of another dialect in a mixed room. Each is shown the mix as one stream,
// with both pictures and the other's sound; a WHEP player sends nothing, and sees and hears the visitor alone. `tribe-turned` is a tribe client that sends
// its pictures as its camera sees them, and is then held upright, on its side, and upright again.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { MARKS, marked } from './lib/marks.mjs';
import { inPage } from './lib/mcu.mjs';
import { connect as peerjs } from './lib/peerjs.mjs';
import { connect as tribe } from './lib/tribe.mjs';
import { until } from './lib/until.mjs';
import { connect as vamp } from './lib/vamp.mjs';

const [base, room, client] = words;
const ws = base.replace('http', 'ws');
const GREEN = { colour: [0, 255, 0], tone: 700 };
const [LEFT, RIGHT, MIDDLE] = [[0.25, 0.5], [0.75, 0.5], [0.5, 0.5]];
/** Beside a picture of 3:4 in the right half, in one of 4:3. */
const BESIDE = [0.53, 0.5];
const near = (seen, want) => seen?.every((value, n) => Math.abs(value - want[n]) < 70);

/** Defines `window.ear` in a page: what its video elements show, and what is heard of them. */
function look() {
  const pen = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', { willReadFrequently: true });
  const context = new AudioContext();
  const ears = new Map();
  const elements = () => [...document.querySelectorAll('video, audio')].filter(one => one.srcObject);
  window.ear = {
    /** The colour there in each element that shows pictures. */
    colours: (x, y) => elements().filter(one => one.videoWidth > 0).map(one => {
      pen.drawImage(one, x * one.videoWidth, y * one.videoHeight, 1, 1, 0, 0, 1, 1);
      return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
    }),
    /** The most there is of a tone in what is received, 1 being full scale. */
    tone(frequency) {
      let most = 0;
      for (const track of elements().flatMap(one => one.srcObject.getAudioTracks()).filter(track => track.readyState === 'live')) {
        if (!ears.has(track.id)) {
          const ear = new AnalyserNode(context, { fftSize: 16384 });
          context.createMediaStreamSource(new MediaStream([track])).connect(ear);
          ears.set(track.id, ear);
        }
        const samples = new Float32Array(16384);
        ears.get(track.id).getFloatTimeDomainData(samples);
        const step = 2 * Math.PI * frequency / context.sampleRate;
        let [real, imaginary] = [0, 0];
        samples.forEach((sample, n) => { real += sample * Math.cos(step * n); imaginary += sample * Math.sin(step * n); });
        most = Math.max(most, 2 * Math.hypot(real, imaginary) / samples.length);
      }
      return most;
    },
  };
}

await withBrowser(async open => {
  const visitor = await open(`${base}/healthz`);
  await visitor.evaluate(inPage);
  await visitor.evaluate(room => window.member.join(room, 'green'), room);
  await visitor.evaluate(([colour, tone]) => window.member.publish(colour, tone), [`rgb(${GREEN.colour})`, GREEN.tone]);

  const kinds = {
    async tribe() { return tribe(marked(open, 'tribe'), { url: `${ws}/api`, room, media: true, user: 'tribe' }); },
    async vamp() { return vamp(marked(open, 'vamp'), { url: base, vamp: room, client: 4, user: 'vamp', audio: true, video: true }); },
    async peerjs() {
      const caller = await peerjs(marked(open, 'peerjs'), { url: base, path: '/peerjs', key: room, media: true });
      await caller.call(room);
      return caller;
    },
    async whep() {
      const page = await open(`${base}/healthz`);
      await page.evaluate(path => t.play('v', path), `/whep/${room}`);
      return { page };
    },
  };
  const name = client.replace('-turned', '');
  const other = await kinds[name]();
  await other.page.evaluate(look);
  await visitor.evaluate(() => window.member.watch());

  const result = {};
  const own = MARKS[name];
  const shows = (what, place, want) => until(`${what} at the visitor`, async () => near(await visitor.evaluate(([x, y]) => window.member.colour(x, y), place), want));
  /** One element shows all of these, and there is no other. */
  const sees = (what, wanted) => until(`${what} at ${name}`, async () => {
    const all = await other.page.evaluate(places => places.map(([x, y]) => window.ear.colours(x, y)), wanted.map(([place]) => place));
    result.seen = all;
    return all.every((colours, n) => colours.length === 1 && near(colours[0], wanted[n][1]));
  }, 60000).catch(error => { throw new Error(`${error.message}: ${JSON.stringify(result.seen)}`); });
  const hears = (what, loud, quiet) => until(`${what} at ${name}`, async () => {
    const heard = result.heard = await other.page.evaluate(tones => tones.map(tone => window.ear.tone(tone)), [...loud, ...quiet]);
    return heard.every((level, n) => n < loud.length ? level > 0.03 : level < 0.01);
  }, 60000).catch(error => { throw new Error(`${error.message}: ${JSON.stringify(result.heard)}`); });

  if (own === undefined) {
    await sees('the visitor', [[MIDDLE, GREEN.colour]]);
    await hears('the visitor', [GREEN.tone], []);
    return result;
  }
  await shows('the visitor', LEFT, GREEN.colour);
  await shows(name, RIGHT, own.colour);
  await until(`the sound of ${name} at the visitor`, async () => await visitor.evaluate(tone => window.member.tone(tone), own.tone) > 0.03);
  await sees('both', [[LEFT, GREEN.colour], [RIGHT, own.colour]]);
  await hears('the visitor and not itself', [GREEN.tone], [own.tone]);
  const { members } = await (await fetch(`${base}/api/v1/rooms/${room}`)).json();
  result.members = members.map(({ dialect }) => dialect).sort();
  if (client !== name) {
    await shows('a wide picture', BESIDE, own.colour);
    await other.send('orientationChange', { orientation: 0, camera: 'back' });
    await shows('a high picture', BESIDE, [0, 0, 0]);
    await shows('a high picture', RIGHT, own.colour);
    await other.send('orientationChange', { orientation: 90, camera: 'back' });
    await shows('a wide picture again', BESIDE, own.colour);
    result.turned = true;
  }
  return result;
});
process.exit(process.exitCode ?? 0);
