// node mcu_stall.mjs BASE ROOM PLAIN: what a viewer of a mix sees of somebody who stays and moves, while another one comes, turns its phone, freezes, moves
// again and leaves. The viewer plays the room PLAIN as well, where nothing happens: when that picture stalls, the machine was busy. Each is done up to ROUNDS
// times: what stalls the mix does so each time, a busy machine does not.
import { withBrowser } from './browser.mjs';
import { inPage } from './lib/mcu.mjs';
import { until } from './lib/until.mjs';

const [base, room, plain] = process.argv.slice(2);
const ROUNDS = 10;
/** Milliseconds. */
const LIMIT = 100;
const COLOURS = { red: [255, 0, 0], green: [0, 255, 0], blue: [0, 0, 255], white: [255, 255, 255] };
/** In the mix: the grey square of red, red itself, and the middle of who comes and goes. */
const [SQUARE, RED, GUEST] = [[0.0625, 0.611], [0.25, 0.75], [0.75, 0.7]];

const css = name => `rgb(${COLOURS[name]})`;
const near = (seen, want) => seen?.every((value, n) => Math.abs(value - want[n]) < 70);
const sleep = time => new Promise(done => setTimeout(done, time));

/** The longest time between two pictures, in ms of their source's clock; too long where there are hardly any. */
const gapOf = notes => notes.length < 10 ? Infinity : Math.max(...notes.slice(1).map(([time], n) => ((time - notes[n][0]) >>> 0) / 90));
/** The longest times, in ms of the mix's clock, without a picture and without a step of the square; pictures without red. */
function judge({ mix: notes, other }) {
  const found = { pictures: notes.length, gap: 0, still: 0, black: 0, odd: [], control: gapOf(other) };
  let last, step, level;
  for (const [time, square, red] of notes) {
    const ms = from => ((time - from) >>> 0) / 90;
    if (last !== undefined) found.gap = Math.max(found.gap, ms(last));
    last = time;
    if (!near(red, COLOURS.red)) {
      found.black += 1;
      found.odd.push(red);
    }
    const now = square[1];
    if (level === undefined || Math.abs(now - level) > 12) {
      if (step !== undefined) found.still = Math.max(found.still, ms(step));
      [step, level] = [time, now];
    } else {
      found.still = Math.max(found.still, ms(step));
    }
  }
  return found;
}

await withBrowser(async open => {
  const enter = async (name, rate) => {
    const page = await open(`${base}/healthz`);
    await page.evaluate(inPage);
    await page.evaluate(([room, name]) => window.member.join(room, name), [room, name]);
    return { page, publish: () => page.evaluate(([colour, rate]) => window.member.publish(colour, 440, rate), [css(name), rate]) };
  };
  const red = await enter('red', 25);
  await red.publish();
  const viewer = (await enter('viewer')).page;
  await viewer.evaluate(path => t.play('plain', path), `/whep/${plain}`);
  await viewer.evaluate(() => window.member.watch());
  const sees = (what, place, fits) => until(what, async () => fits(await viewer.evaluate(([x, y]) => window.member.colour(x, y), place)));
  const white = seen => near(seen, COLOURS.white);
  const black = seen => near(seen, [0, 0, 0]);
  await sees('red', RED, seen => near(seen, COLOURS.red));
  // what only starts does not count
  await sleep(3000);

  let guest;
  const steps = {
    join: async () => { await guest.publish(); await sees('the guest', GUEST, white); },
    turn: async () => { await guest.page.evaluate(() => window.member.turn()); await sees('a turned picture', [0.98, 0.7], black); },
    freeze: async () => { await guest.page.evaluate(() => window.member.freeze()); await sees('a frozen picture', GUEST, seen => near(seen, [102, 102, 102])); },
    thaw: async () => { await guest.page.evaluate(colour => window.member.thaw(colour), css('white')); await sees('a picture that moves', GUEST, white); },
    leave: async () => { await guest.page.evaluate(() => window.member.leave()); await sees('nobody', GUEST, black); },
  };
  const best = {};
  const all = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    guest = await enter('white');
    await sleep(1000);
    for (const [name, step] of Object.entries(steps)) {
      await viewer.evaluate(places => window.member.record(places), [SQUARE, RED]);
      await step();
      await sleep(500);
      const found = judge(await viewer.evaluate(() => window.member.recorded()));
      all.push({ round, name, ...found });
      const before = best[name] ?? { smooth: 0, stalled: 0, black: 0 };
      const smooth = found.gap <= LIMIT && found.still <= LIMIT;
      best[name] = { smooth: before.smooth + smooth, stalled: before.stalled + (!smooth && found.control <= LIMIT), black: before.black + found.black };
    }
    await guest.page.close();
    if (Object.values(best).every(({ smooth }) => smooth > 0)) break;
  }
  return { best, all };
}, { flags: ['--disable-background-timer-throttling', '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows'] });
