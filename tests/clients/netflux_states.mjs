// node netflux_states.mjs URL API: what the API (the room's address) shows of netflux members, beside what the members themselves say: one that
// has JOINED, one whose connections do not come up and which is JOINING, and nobody of those who LEFT.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { connect } from './lib/netflux.mjs';
import { until } from './lib/until.mjs';

const [url, api] = words;
const key = api.split('/').at(-1);
/** What the API has of the room: `{ user id: state }`. */
const shown = async () => {
  const response = await fetch(api);
  if (response.status === 404) return {};
  return Object.fromEntries((await response.json()).members.map(member => [member.user_id, member.state]));
};
/** What a client says of itself, in the API's words. */
const own = async member => ({ group: (await member.group()).toLowerCase(), signalling: (await member.signallingState()).toLowerCase() });

await withBrowser(async open => {
  const steps = [];
  /** Waits until the API shows these members, each as it says itself, and notes both. */
  const agree = async (what, members) => {
    const ids = await Promise.all(members.map(async member => String(await member.id())));
    let last;
    await until(what, async () => {
      const before = await Promise.all(members.map(own));
      const seen = await shown();
      const after = await Promise.all(members.map(own));
      last = { before, seen, after };
      return JSON.stringify(before) === JSON.stringify(after) && Object.keys(seen).length === ids.length
        && ids.every((id, at) => seen[id]?.group === before[at].group && seen[id].signalling === before[at].signalling);
    }).catch(error => { throw new Error(`${error.message}: ${JSON.stringify(last)}`); });
    steps.push({ what, states: ids.map(id => last.seen[id]) });
  };
  await agree('nobody', []);
  const first = await connect(open, { url, key });
  await agree('one alone', [first]);
  const second = await connect(open, { url, key });
  await agree('two', [first, second]);
  const third = await connect(open, { url, key, unreachable: true });
  await until('the third is JOINING', async () => await third.group() === 'JOINING' && await third.signallingState() === 'CHECKED');
  await agree('two, and one on its way', [first, second, third]);
  await third.leave();
  await until('LEFT', async () => await third.group() === 'LEFT' && await third.signallingState() === 'CLOSED');
  await agree('two again', [first, second]);
  await second.leave();
  await first.leave();
  await agree('all have left', []);
  return { steps };
});
