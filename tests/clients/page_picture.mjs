// The picture of the README: a room with the test source and two visitors, whose cameras show drawings. argv: base, the file
import { withBrowser } from './browser.mjs';
import { enter, join, playing } from './page.mjs';

const [base, file] = process.argv.slice(2);

/** Puts a drawing in place of the fake camera: somebody in front of a wall, nodding. */
const draw = ({ wall, light, shirt, skin, hair, long }) => {
  const canvas = Object.assign(document.createElement('canvas'), { width: 1280, height: 720 });
  const context = canvas.getContext('2d');
  const shape = (colour, path) => { context.fillStyle = colour; context.beginPath(); path(); context.fill(); };
  let tick = 0;
  setInterval(() => {
    tick += 1;
    const nod = Math.sin(tick / 14) * 7;
    const ground = context.createLinearGradient(0, 0, 1280, 720);
    ground.addColorStop(0, light);
    ground.addColorStop(1, wall);
    shape(ground, () => context.rect(0, 0, 1280, 720));
    context.globalAlpha = 0.35;
    shape('#ffffff', () => context.roundRect(long ? 930 : 110, 200, 230, 290, 12));
    context.globalAlpha = 1;
    if (long) shape(hair, () => context.roundRect(515, 275 + nod, 250, 330, 110));
    shape(shirt, () => context.roundRect(390, 570, 500, 300, 150));
    shape(skin, () => context.roundRect(590, 490 + nod, 100, 140, 48));
    shape(skin, () => context.ellipse(640, 410 + nod, 98, 124, 0, 0, 7));
    shape(hair, () => { context.ellipse(640, 345 + nod, 108, 88, 0, Math.PI, 2 * Math.PI); context.ellipse(640, 345 + nod, 108, 26, 0, 0, Math.PI); });
    shape('#2b2b33', () => { context.ellipse(602, 418 + nod, 9, tick % 90 < 4 ? 1 : 10, 0, 0, 7); context.ellipse(678, 418 + nod, 9, tick % 90 < 4 ? 1 : 10, 0, 0, 7); });
    context.strokeStyle = '#2b2b33';
    context.lineWidth = 6;
    context.lineCap = 'round';
    context.beginPath();
    context.arc(640, 455 + nod, 30, 0.25, Math.PI - 0.25);
    context.stroke();
  }, 33);
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async ({ video, audio }) => new MediaStream([
    ...(audio ? (await ask({ audio })).getTracks() : []),
    ...(video ? canvas.captureStream(30).getTracks() : []),
  ]);
};

await withBrowser(async open => {
  const anna = await enter(open, base, 'main', { viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
  const ben = await enter(open, base, 'main');
  await anna.evaluate(draw, { wall: '#d9b99b', light: '#f6e7d7', shirt: '#3d6b8e', skin: '#e8b995', hair: '#4a2f24', long: true });
  await ben.evaluate(draw, { wall: '#7fa3a0', light: '#d7e6e0', shirt: '#b0563f', skin: '#b9815c', hair: '#1f1a1c', long: false });
  await join(anna, 'Anna');
  await join(ben, 'Ben');
  await playing(anna, 'Ben', { frames: 60, sound: true });
  await ben.click('#mic');
  await anna.click('#show-figures');
  await playing(anna, 'Ben', { frames: 900 }); // the plots fill
  await anna.evaluate(() => document.activeElement.blur());
  await anna.mouse.move(5, 790);
  await anna.waitForSelector('.toast', { state: 'detached' });
  await anna.screenshot({ path: file });
  return {};
});
