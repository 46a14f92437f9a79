// node vamp_stored.mjs URL [VERSION] [VAMP]: members in Node in a mesh whose server stores clips. The server calls the first, and is one more
// member of later lists. One records; who comes within the clip and who comes after it get it from the server, once and whole, after its end; who was there gets nothing from
// it. A leave ends a clip. `--off`: the server stores nothing and is no member.
import { option, words } from './lib/args.mjs';
import { withNode } from './lib/node_client.mjs';
import { until } from './lib/until.mjs';
import { connect } from './lib/vamp.mjs';

const [url, version = '2', vamp = `v${Math.random().toString(36).slice(2)}`] = words;
const stores = option('off') === undefined;
const sleep = ms => new Promise(done => setTimeout(done, ms));
const clientOf = index => version === 'mixed' ? [2, 4][index % 2] : Number(version);
const check = (what, holds, ...about) => { if (!holds) throw new Error(`${what}: ${JSON.stringify(about)}`); };
await withNode(async () => {
  const all = [];
  const member = async () => {
    const others = all.filter(one => !one.gone).length + Number(stores);
    const one = await connect(null, { url, vamp, client: clientOf(all.length), user: `u${all.length}` });
    all.push(one);
    await until('its connections', () => one.peers().length === others);
    return one;
  };
  const a = await member();
  const first = a.events().find(event => event['all users'])['all users'];
  const callers = a.events().filter(event => event['user joined']).map(event => event['user joined']);
  const [room] = callers;
  check('nobody else is there', first.length === 0, first);
  check('the server alone calls', stores ? /^[\w-]{20}$/.test(room ?? '') && callers.length === 1 : room === undefined, callers);
  const ofRoom = one => one.clips().filter(clip => clip.from === room);
  const replayed = async (one, clips) => {
    await until(`${clips.length} clips of the server`, () => ofRoom(one).length === clips.length && ofRoom(one).at(-1).bytes >= clips.at(-1).bytes);
    // long enough for something to come twice
    await sleep(300);
    const got = ofRoom(one).map(({ head, bytes, digest }) => [head.startTime, bytes, digest]);
    check('each once, whole and in order', JSON.stringify(got) === JSON.stringify(clips.map(({ startTime, bytes, digest }) => [startTime, bytes, digest])), got, clips);
    return got.length;
  };
  const record = async (one, startTime, slices, stop) => ({ startTime, ...await one.sendClip({ userId: 'u', startTime }, slices, 500, stop) });

  // alone in the vamp
  const recording = record(a, 12.5, 60);
  await sleep(600);
  const b = await member();
  const clips = [await recording];
  if (!stores) {
    await sleep(6500);
    check('nothing is stored', b.clips().length === 0, b.clips());
    return { room };
  }
  check('not before its end', ofRoom(b).length === 0, ofRoom(b));
  // the next recording ends the one before
  clips.push(await record(a, 40, 20));
  await replayed(b, clips.slice(0, 1));
  const direct = b.clips().filter(clip => clip.from === a.id());
  check('what runs comes from who records, once', direct.length === 1 && direct[0].slices === 20 && direct[0].digest === clips[1].digest, direct);
  // a leave ends a clip, and what was recorded stays: what reached the server by then, which is not what reached b
  const stop = {};
  const cut = record(a, 60, 1000, stop);
  await until('a part', () => b.clips().at(-1)?.head.startTime === 60 && b.clips().at(-1).slices > 10);
  [a.leave(), a.gone = true, stop.now = true];
  const sent = await cut;
  const c = await member();
  await until('three clips', () => ofRoom(c).length === 3);
  await sleep(500);
  const [one, two, three] = ofRoom(c);
  check('whole', one.digest === clips[0].digest && two.digest === clips[1].digest, ofRoom(c), clips);
  check('as far as it was recorded', three.head.startTime === 60 && three.bytes > 0 && three.bytes % 500 === 0 && three.bytes <= sent.bytes, three, sent);
  check('nothing again to who was there', ofRoom(b).length === 1, ofRoom(b));
  for (const member of [b, c]) check('no errors', member.events().every(event => !event.error || event.error.id === a.id()), member.events());
  return { room, clips, cut: three };
});
