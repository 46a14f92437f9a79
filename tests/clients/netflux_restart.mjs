// node netflux_restart.mjs URL LIVE: ten netflux members form a group; then the file LIVE is made, and the server goes and comes back
// on its port, which LIVE.back says. All are members again by themselves, with the data channels they had; and one more can join.
import { existsSync, writeFileSync } from 'node:fs';
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { connect } from './lib/netflux.mjs';
import { until } from './lib/until.mjs';

const [url, live] = words;
await withBrowser(async open => {
  const all = await Promise.all(Array.from({ length: 10 }, () => connect(open, { url, key: 'restart' })));
  const ids = await Promise.all(all.map(member => member.id()));
  const complete = (members, wanted) => Promise.all(members.map((member, index) => until(`${wanted} others at number ${index}`, async () => (await member.peers()).length === wanted)));
  const settled = async (member, index) => until(`JOINED and CHECKED at number ${index}`, async () => await member.group() === 'JOINED' && await member.signallingState() === 'CHECKED');
  await complete(all, ids.length - 1);
  await Promise.all(all.map(settled));
  const made = async () => (await Promise.all(all.map(member => member.states()))).map(states => states.length);
  const before = { states: await made(), seen: await Promise.all(all.map(async member => (await member.signallingStates()).length)) };
  writeFileSync(live, '');
  await until('the server is back', () => existsSync(`${live}.back`));
  const start = Date.now();
  // each noticed that the server went, and is a member again
  for (const [index, member] of all.entries()) {
    await until(`CLOSED at number ${index}`, async () => (await member.signallingStates()).slice(before.seen[index]).includes('CLOSED'));
    await settled(member, index);
  }
  const seconds = (Date.now() - start) / 1000;
  const after = await made();
  const left = (await Promise.all(all.map(member => member.events()))).flat().filter(event => 'left' in event);
  // the channels they had still carry
  await all[0].sendText('as before');
  for (const member of all.slice(1)) await until('words over what was there', async () => (await member.texts()).some(it => it.from === ids[0] && it.text === 'as before'));
  const late = await connect(open, { url, key: 'restart' });
  await complete([late], ids.length);
  return { members: new Set(ids).size, before: before.states, after, left, seconds };
});
