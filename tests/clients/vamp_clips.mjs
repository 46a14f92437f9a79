// node vamp_clips.mjs URL VAMP [VERSION] [--bound=BYTES]: members in Node in a vamp whose connections end at the server (`sfu`). One records while
// another listens; a third comes in the middle and gets the clip from its start; each has it once, whole and in order. A listener leaves within a
// clip, then who records leaves within one: nothing of it comes any more, nothing breaks, and the next records.
// `--bound`: the most bytes of a clip that the server keeps. A longer one is heard by who is there, and by nobody who comes within it.
import { option, words } from './lib/args.mjs';
import { withNode } from './lib/node_client.mjs';
import { until } from './lib/until.mjs';
import { connect } from './lib/vamp.mjs';

const [url, vamp, version = '2'] = words;
const bound = Number(option('bound') ?? 0);
const sleep = ms => new Promise(done => setTimeout(done, ms));
const clientOf = index => version === 'mixed' ? [2, 4][index % 2] : Number(version);
const check = (what, holds, ...about) => { if (!holds) throw new Error(`${what}: ${JSON.stringify(about)}`); };
/** The room is free for the next run. */
const goodbye = async (...all) => { all.forEach(one => one.leave()); await sleep(300); };
await withNode(async () => {
  let count = 0;
  /** One more member, connected with so many others. */
  const member = async (others, options = {}) => {
    const user = `u${count}`;
    const one = await connect(null, { url, vamp, client: clientOf(count++), user, ...options });
    await until(`${user}'s connections`, () => one.peers().length === others);
    return one;
  };
  const clipOf = (one, from, startTime) => one.clips().filter(clip => clip.from === from && clip.head.startTime === startTime);
  const whole = async (one, from, startTime, sent) => {
    await until(`clip ${startTime}`, () => clipOf(one, from, startTime).some(clip => clip.bytes >= sent.bytes));
    // long enough for something to come twice
    await sleep(300);
    const got = clipOf(one, from, startTime);
    check('each frame once and in order', got.length === 1 && got[0].digest === sent.digest && got[0].bytes === sent.bytes, got, sent);
    return got[0];
  };
  // this one's messages are small, that one's large: both take the same clips
  const [a, b] = [await member(0), await member(1, { maxMessage: 1200 })];
  await until('both', () => a.peers().length === 1);
  const clips = [];

  const size = bound ? Math.ceil(bound / 20) : 500;
  const first = a.sendClip({ userId: 'u0', startTime: 12.5 }, 100, size);
  // the start is gone when more has come than is kept
  await until('a part', () => bound ? b.clips()[0]?.bytes > bound + size : b.frames() > 30);
  const c = await member(2, { maxMessage: 1073741823 });
  await until('the third', () => a.peers().length === 2 && b.peers().length === 2);
  const sent = await first;
  clips.push(await whole(b, a.id(), 12.5, sent));
  check('no message is larger than its receiver takes', clips[0].largest <= 1200, clips[0]);
  if (bound) {
    check('nothing of a clip whose start is gone', c.frames() === 0, c.clips());
    await goodbye(a, b, c);
    return { ids: [a, b, c].map(one => one.id()), clips };
  }
  clips.push(await whole(c, a.id(), 12.5, sent));
  check('nothing comes back', a.frames() === 0, a.clips());

  // slices as large as a stopped recorder may hand over: each receiver gets as much at once as it takes
  const large = await c.sendClip({ userId: 'u2', startTime: 20 }, 5, 100_000);
  for (const [one, most] of [[a, 16384], [b, 1200]]) {
    const got = await whole(one, c.id(), 20, large);
    check('no message is larger than its receiver takes', got.largest <= most, got);
    clips.push(got);
  }

  // a listener leaves within a clip; the other hears on
  const second = a.sendClip({ userId: 'u0', startTime: 40 }, 60);
  await until('a part', () => clipOf(c, a.id(), 40)[0]?.slices > 10);
  b.leave();
  const heard = b.frames();
  clips.push(await whole(c, a.id(), 40, await second));
  check('who has left hears nothing', b.frames() === heard);

  // who records leaves within a clip
  const stop = {};
  const broken = a.sendClip({ userId: 'u0', startTime: 60 }, 1000, 500, stop);
  await until('a part', () => clipOf(c, a.id(), 60)[0]?.slices > 10);
  [a.leave(), stop.now = true];
  const begun = await broken;
  await until('the leave', () => c.events().some(event => event['user left'] === a.id()) && c.peers().length === 0);
  const cut = clipOf(c, a.id(), 60);
  check('the part that came is the start', cut.length === 1 && cut[0].slices <= begun.slices && cut[0].bytes === cut[0].slices * 500, cut, begun);
  const d = await member(1);
  await sleep(1000);
  check('nothing after a leave', clipOf(c, a.id(), 60)[0].slices === cut[0].slices && d.frames() === 0, cut, d.clips());
  const last = await c.sendClip({ userId: 'u2', startTime: 80 }, 20);
  clips.push(await whole(d, c.id(), 80, last));
  const ids = [a, b, c, d].map(one => one.id());
  for (const one of [c, d]) check('no errors', one.events().every(event => !event.error), one.events());
  check('closed by the leave alone', c.events().filter(event => event.close).every(({ close }) => [a.id(), b.id()].includes(close)), c.events());
  await goodbye(c, d);
  return { ids, clips };
});
