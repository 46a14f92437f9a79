// node star_restart.mjs URL LIVE: two libp2p nodes find and dial each other on the server at URL; then the file LIVE is made, and the server goes
// and comes back on its port, which LIVE.back says. Both rejoin by themselves: once nothing is left between them, they find and dial each other.
import { existsSync, writeFileSync } from 'node:fs';
import { words } from './lib/args.mjs';
import { withNode } from './lib/node_client.mjs';
import { createNode, echo, pair } from './lib/star.mjs';
import { until } from './lib/until.mjs';

const [url, live] = words;
const bytes = Uint8Array.from({ length: 10_000 }, (_, i) => i & 255);

await withNode(async logs => {
  process.on('uncaughtException', error => logs.push(`uncaught: ${error.stack ?? error}`));
  const [a, b] = await pair(url);
  const result = { before: await echo(a, b, bytes) };
  writeFileSync(live, '');
  await until('the server is back', () => existsSync(`${live}.back`));
  const start = Date.now();
  // what they have between them needs no server
  result.kept = await echo(a, b, bytes);
  for (const [one, other] of [[a, b], [b, a]]) {
    await one.node.hangUp(one.discovered.get(other.id));
    await until('nothing between them', () => a.node.getConnections().length + b.node.getConnections().length === 0);
    result[one === a ? 'there' : 'back'] = await until('a dial', () => echo(one, other, bytes).catch(error => { logs.push(String(error)); }));
  }
  result.seconds = (Date.now() - start) / 1000;
  // one that comes now hears of both: their addresses are in the table again
  const c = await createNode(url);
  await until('the discovery of both by a third', () => c.discovered.has(a.id) && c.discovered.has(b.id));
  await until('the discovery of the third by both', () => a.discovered.has(c.id) && b.discovered.has(c.id));
  for (const { node } of [a, b, c]) await node.stop();
  return result;
});
