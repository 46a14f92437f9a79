// node algorea_restart.mjs URL LIVE: two clients of the workflow, one of each variant, exchange text; then the file LIVE is made, and the server
// goes and comes back on its port, which LIVE.back says. What they have between them goes on. The workflow has no way back: a page that is
// loaded anew is a new client, and both meet again.
import { existsSync, writeFileSync } from 'node:fs';
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { connect } from './lib/algorea.mjs';
import { until } from './lib/until.mjs';

const [url, live] = words;
await withBrowser(async open => {
  const enter = variant => connect(open, { url: `${url}?variant=${variant}&room=restart`, variant });
  const meet = async tag => {
    const pair = [await enter('document'), await enter('branch')];
    for (const client of pair) await until(`${tag}: a link`, async () => (await client.peers()).length === 1);
    return pair;
  };
  const talk = async (pair, tag) => {
    for (const [index, client] of pair.entries()) {
      await client.sendText(`${tag} ${index}`);
      await until(`${tag} ${index}`, async () => (await pair[1 - index].texts()).some(entry => entry.text === `${tag} ${index}`));
    }
  };
  const lists = async pair => Promise.all(pair.map(async client => (await client.frames())[0].peerIds.length));
  const before = await meet('before');
  await talk(before, 'before');
  writeFileSync(live, '');
  await until('the server is back', () => existsSync(`${live}.back`));
  const closed = [];
  for (const client of before) closed.push(await until('the close', () => client.socketClosed()));
  await talk(before, 'without the server');
  const after = await meet('after');
  await talk(after, 'after');
  await talk(before, 'still');
  return { closed, lists: await lists(after), errors: (await Promise.all([...before, ...after].map(client => client.errors()))).flat() };
});
