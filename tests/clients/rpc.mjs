// node rpc.mjs BASE PATH KEY TO LIBRARIES STEPS: requests over a data channel to TO, the id by which the gateway is called.
// LIBRARIES: one word for each client, `simple` (simple-peerjs in Node) or `binary`, `json`, `raw` (PeerJS in Chromium, with that
// serialization; `json@1.4.7` for that version), with commas between.
// STEPS is a JSON list, done one after the other: `{ say, text, bytes, times, by, answers }`. `say` is a request as an object, `text` anything
// that is sent as it stands (`bytes`: as a buffer), `times` how often (1), `by` which client (0), `answers` how many messages
// that client hears before the next step (1). In a request `$me` is the client's own id, `$x:N` N letters, `$n` counts from 0 with `times`.
// The result has a list for each step: what was heard, parsed where it is JSON text.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { withNode } from './lib/node_client.mjs';
import { connect as connectPeerjs } from './lib/peerjs.mjs';
import { connect as connectSimple } from './lib/simple_peerjs.mjs';
import { until } from './lib/until.mjs';

const [url, path, key, to, names, list] = words;
const libraries = names.split(',');
const steps = JSON.parse(list);

/** A request with its places filled in. */
const filled = (value, me, n) => JSON.parse(JSON.stringify(value), (_, item) => {
  if (item === '$me') return me;
  if (item === '$n') return n;
  const letters = typeof item === 'string' && /^\$x:(\d+)$/.exec(item);
  return letters ? 'x'.repeat(Number(letters[1])) : item;
});

/** What came, as a value: JSON text parsed, other text as it is. */
function read({ text }) {
  if (typeof text !== 'string') return text.value ?? text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

async function scenario(open) {
  const clients = [];
  for (const [library, version] of libraries.map(word => word.split('@'))) {
    const simple = library === 'simple';
    const client = simple
      ? await connectSimple(null, { url, path, key, pingInterval: 5000 })
      : await connectPeerjs(open, { url, path, key, version });
    await client.dial(to, simple ? undefined : { serialization: library, reliable: true });
    clients.push({ client, me: await client.id(), texts: simple || library === 'raw', heard: 0 });
  }
  const result = { ids: clients.map(({ me }) => me), steps: [] };
  for (const [at, { say, text, bytes, times = 1, by = 0, answers = 1 }] of steps.entries()) {
    const one = clients[by];
    for (let n = 0; n < times && (say !== undefined || text !== undefined); n++) {
      const value = say === undefined ? text : filled(say, one.me, n);
      // bytes of JSON, as an application of either library may send it
      const whole = one.texts || bytes ? (typeof value === 'string' ? value : JSON.stringify(value)) : value;
      await one.client.sendText(bytes ? Buffer.from(whole) : whole, to);
    }
    const wanted = one.heard + answers;
    const all = await until(`step ${at} (${JSON.stringify(say ?? text)?.slice(0, 100)}): ${answers} answers`, async () => {
      const all = await one.client.texts();
      return all.length >= wanted && all;
    });
    result.steps.push(all.slice(one.heard, wanted).map(read));
    one.heard = wanted;
  }
  // one more message than each step asked for would stand here
  result.more = [];
  for (const { client, heard } of clients) result.more.push(...(await client.texts()).slice(heard).map(read));
  result.wire = [];
  for (const { client } of clients) result.wire.push(await client.wire());
  for (const { client } of clients) await client.leave();
  return result;
}

const browser = libraries.some(library => library !== 'simple');
await (browser ? withBrowser(scenario) : withNode(() => scenario()));
