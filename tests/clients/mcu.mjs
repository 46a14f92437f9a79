// A mixed room in pages of one Chromium: each publishes a canvas of one colour and one tone, most of them watch the mix. argv: base, room
import { withBrowser } from './browser.mjs';
import { inPage } from './lib/mcu.mjs';
import { until } from './lib/until.mjs';

const [base, room] = process.argv.slice(2);
const COLOURS = { red: [255, 0, 0], green: [0, 255, 0], blue: [0, 0, 255], white: [255, 255, 255], yellow: [255, 255, 0], black: [0, 0, 0] };
const TONES = { red: 440, green: 700, blue: 1000, white: 1400, yellow: 1900 };
/** The middles of the four pictures. */
const PLACES = [[0.25, 0.2], [0.75, 0.2], [0.25, 0.7], [0.75, 0.7]];

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
