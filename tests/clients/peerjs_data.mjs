// node peerjs_data.mjs BASE PATH KEY [--versions=A,B] [--forms=binary,json,raw]: two PeerJS peers, of these versions (1.5.5); data connections
// of each serialization, ordered and not, all at once: text, numbers, lists, objects and bytes (1 MiB where PeerJS cuts them) both
// ways, each on the connection it was sent on; then a close of one after the other.
import { withBrowser } from './browser.mjs';
import { option, words } from './lib/args.mjs';
import { connect } from './lib/peerjs.mjs';
import { canonical } from './lib/suite.mjs';
import { until } from './lib/until.mjs';

const [url, path, key] = words;
const versions = (option('versions') ?? '1.5.5,1.5.5').split(',');
const old = versions.includes('1.4.7');
const forms = (option('forms') ?? 'binary,json,raw').split(',');
/** JSON has no bytes; raw has no chunks, and SCTP carries 256 KiB. */
const SIZES = { binary: 1 << 20, raw: 200 * 1024 };
const TEXTS = ['hello', 'x'.repeat(2000), 'Grüße', '😀', ''];
const VALUES = [5, -1.5, 0, 4294967296, [1, [2, [3, ['four']]], []], { list: [1, -1, 2.5, [true, null]], text: 'Grüße 😀', nested: { empty: {} } }];
// a program sees an empty text as a text, and everything else as a value
const shown = value => typeof value === 'string' ? value : { value };
await withBrowser(async open => {
  const [a, b] = [await connect(open, { url, path, key, version: versions[0] }), await connect(open, { url, path, key, version: versions[1] })];
  const [idA, idB] = [await a.id(), await b.id()];
  const result = { a: idA, b: idB, forms: [] };
  for (const serialization of forms) {
    for (const reliable of [false, true]) {
      const label = `${serialization}-${reliable}`;
      await a.dial(idB, { label, reliable, serialization, metadata: { for: label } });
      const seen = await until(`${label} at the called side`, async () => (await b.connections()).find(one => one.label === label && one.open));
      const own = (await a.connections()).find(one => one.label === label);
      if (seen.connectionId !== own.connectionId) throw new Error(`${label} has another id: ${seen.connectionId}`);
      result.forms.push({ label, ordered: [own.ordered, seen.ordered], serialization: seen.serialization, metadata: seen.metadata, peer: seen.peer, channelLabel: seen.channelLabel });
    }
  }
  // forwards, then backwards: a connection that is mistaken for another one is seen
  for (const { label } of [...result.forms, ...result.forms.toReversed()]) {
    const [serialization, reliable] = label.split('-');
    for (const [from, to] of [[a, b], [b, a]]) {
      const [before, texts] = [(await to.texts()).length, (await to.wire()).text];
      // before 1.5 the library miscounts the bytes of characters beyond U+FFFF on `binary` connections, writing as well as reading
      const garbled = value => serialization === 'binary' && old && JSON.stringify(value).includes('😀');
      const sent = [...TEXTS, ...serialization === 'raw' ? [] : VALUES].filter(value => !garbled(value));
      for (const value of sent) await from.sendText(value, label);
      const bytes = SIZES[serialization] && await from.sendBytes(SIZES[serialization], label);
      const expected = [...sent.map(shown), ...bytes ? [bytes] : []].map(canonical);
      const got = await until(`${label}: ${expected.length} values`, async () => {
        const all = (await to.texts()).slice(before);
        return all.length >= expected.length && all;
      });
      if (!got.every(entry => entry.label === label)) throw new Error(`${label}: by another connection: ${JSON.stringify(got.map(entry => entry.label))}`);
      const seen = got.map(entry => canonical(entry.text));
      // the channels that PeerJS opens before 1.5 are never ordered
      if (reliable === 'false' || versions[0] === '1.4.7') [seen, expected].forEach(list => list.sort());
      if (JSON.stringify(seen) !== JSON.stringify(expected)) throw new Error(`${label}: ${JSON.stringify(seen).slice(0, 500)}`);
      // what 1.5 reads is in bytes, whatever came
      const written = (await to.wire()).text - texts;
      if (serialization !== 'raw' && !old && written > 0) throw new Error(`${label}: ${written} text frames`);
    }
  }
  result.wire = { a: await a.wire(), b: await b.wire() };
  // one by one: PeerJS 1.5.5 leaves every other connection of a peer open when it is destroyed
  for (const [at, { label }] of result.forms.slice(0, -1).entries()) {
    const [closes, hears, id] = at % 2 ? [b, a, idB] : [a, b, idA];
    await closes.closeConnection(label);
    await until(`the close of ${label} at the other side`, async () => (await hears.events()).some(event => event.closed === id && event.label === label));
  }
  const last = result.forms.at(-1).label;
  result.open = (await b.connections()).filter(one => one.open).map(one => one.label);
  if (JSON.stringify(result.open) !== JSON.stringify([last])) throw new Error(`open are ${result.open}`);
  await a.sendText('still here', last);
  await until('a text on the last one', async () => (await b.texts()).some(entry => entry.text === 'still here'));
  await a.leave();
  await until('all closed at the other side', async () => (await b.connections()).every(one => !one.open));
  result.events = { a: await a.events(), b: await b.events() };
  return result;
});
