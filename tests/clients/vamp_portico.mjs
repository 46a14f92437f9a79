// node vamp_portico.mjs URL VAMP [VERSION]: three members in Node in a vamp whose connections end at the server: everybody is connected with
// everybody's id; one leaves: its connections close without an error, and its leave is told once.
import { words } from './lib/args.mjs';
import { withNode } from './lib/node_client.mjs';
import { until } from './lib/until.mjs';
import { connect } from './lib/vamp.mjs';

const [url, vamp, version = '2'] = words;
await withNode(async () => {
  const all = [];
  for (let i = 0; i < 3; i++) all.push(await connect(null, { url, vamp, client: Number(version), user: `u${i}` }));
  for (const member of all) await until('a connection for each other', () => member.peers().length === 2);
  const ids = all.map(member => member.id());
  for (const [index, member] of all.entries()) {
    const others = ids.filter((_, other) => other !== index);
    if (JSON.stringify(member.peers().sort()) !== JSON.stringify(others.sort())) throw new Error(`${ids[index]} has ${member.peers()}`);
  }
  all[2].leave();
  const staying = all.slice(0, 2);
  for (const member of staying) {
    await until('the close', () => member.events().some(event => event.close === ids[2]));
    await until('the leave', () => member.events().some(event => event['user left'] === ids[2]));
  }
  // long enough for a second word, had there been one
  await new Promise(done => setTimeout(done, 1000));
  const events = staying.map(member => member.events());
  for (const seen of events) {
    if (seen.filter(event => event['user left'] === ids[2]).length !== 1) throw new Error(`leaves: ${JSON.stringify(seen)}`);
    if (seen.some(event => event.error)) throw new Error(`errors: ${JSON.stringify(seen)}`);
  }
  return { ids, events };
});
