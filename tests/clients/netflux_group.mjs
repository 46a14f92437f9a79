// node netflux_group.mjs URL [KEY]: three netflux members form a group, exchange messages of 1 byte and 1 MiB, one leaves, a fourth joins. URL is
// ws://host:port, with or without a prefix. Reports the states each member went through.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { connect } from './lib/netflux.mjs';
import { until } from './lib/until.mjs';

const [url, key = `k${Math.random().toString(36).slice(2)}`] = words;
const MIB = 1024 * 1024;
await withBrowser(async open => {
  const all = [];
  const join = async () => all.push(await connect(open, { url, key }));
  const complete = async members => {
    const ids = await Promise.all(members.map(member => member.id()));
    for (const [index, member] of members.entries()) {
      const others = ids.filter((_, other) => other !== index).sort();
      await until(`all members at number ${index}`, async () => JSON.stringify((await member.peers()).sort()) === JSON.stringify(others));
    }
    return ids;
  };
  const exchange = async (members, ids, tag) => {
    for (const [index, member] of members.entries()) {
      await member.sendText(`${tag} ${index} 😀`);
      const small = await member.sendBytes(1);
      const big = await member.sendBytes(MIB);
      for (const other of members.filter(one => one !== member)) {
        await until(`${tag}: text and bytes of number ${index}`, async () => {
          const got = (await other.texts()).filter(entry => entry.from === ids[index]);
          return got.some(entry => entry.text === `${tag} ${index} 😀`) && [small, big].every(sent => got.some(entry => entry.bytes === sent.bytes && entry.sum === sent.sum));
        });
      }
    }
  };
  for (let i = 0; i < 3; i++) await join();
  const ids = await complete(all);
  await exchange(all, ids, 'three');
  const result = { ids };
  await all[1].leave();
  const rest = [all[0], all[2]];
  await until('LEFT', async () => await all[1].group() === 'LEFT' && await all[1].signallingState() === 'CLOSED');
  await complete(rest);
  await join();
  const now = [...rest, all[3]];
  await exchange(now, await complete(now), 'fourth');
  for (const member of now) await until('JOINED and CHECKED', async () => await member.group() === 'JOINED' && await member.signallingState() === 'CHECKED');
  result.members = [];
  for (const member of all) result.members.push({ group: await member.groupStates(), signalling: await member.signallingStates(), events: await member.events() });
  return result;
});
