// node netflux_five.mjs URL [KEY]: five netflux members reach JOINED on one key, and each sends all others a message of 1 byte and one of 1 MiB.
import { withBrowser } from './browser.mjs';
import { connect } from './lib/netflux.mjs';
import { until } from './lib/until.mjs';

const [url, key = 'five'] = process.argv.slice(2);
await withBrowser(async open => {
  const all = await Promise.all(Array.from({ length: 5 }, () => connect(open, { url, key })));
  const ids = await Promise.all(all.map(member => member.id()));
  for (const [index, member] of all.entries()) {
    await until(`four others at number ${index}`, async () => (await member.peers()).length === 4);
    await until(`JOINED at number ${index}`, async () => await member.group() === 'JOINED');
  }
  let exchanged = 0;
  for (const [index, member] of all.entries()) {
    const sent = [await member.sendBytes(1), await member.sendBytes(1024 * 1024)];
    for (const other of all.filter(one => one !== member)) {
      await until(`the bytes of number ${index}`, async () => {
        const got = (await other.texts()).filter(entry => entry.from === ids[index]);
        return sent.every(message => got.some(entry => entry.bytes === message.bytes && entry.sum === message.sum));
      });
      exchanged += sent.length;
    }
  }
  return { members: new Set(ids).size, exchanged };
});
