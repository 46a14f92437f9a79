// node peerjs_data.mjs BASE PATH KEY: two PeerJS peers; data connections of each serialization, ordered and not, with text, objects and
// 100 KiB of bytes both ways; then a close.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { connect } from './lib/peerjs.mjs';
import { canonical } from './lib/suite.mjs';
import { until } from './lib/until.mjs';

const [url, path, key] = words;
const SIZE = 100 * 1024;
const OBJECT = { list: [1, -1, 2.5, [true, null]], text: 'Grüße 😀', nested: { empty: {} } };
await withBrowser(async open => {
  const a = await connect(open, { url, path, key });
  const b = await connect(open, { url, path, key });
  const [idA, idB] = [await a.id(), await b.id()];
  const result = { a: idA, b: idB, forms: [] };
  for (const serialization of ['binary', 'json', 'raw']) {
    for (const reliable of [false, true]) {
      const label = `${serialization}-${reliable}`;
      await a.dial(idB, { label, reliable, serialization, metadata: { for: label } });
      const seen = await until(`${label} at the called side`, async () => (await b.connections()).find(one => one.label === label && one.open));
      const sent = ['hello', 'x'.repeat(2000), 'Grüße 😀'];
      if (serialization !== 'raw') sent.push({ value: OBJECT });
      for (const [from, to] of [[a, b], [b, a]]) {
        for (const value of sent) await from.sendText(value.value ?? value, label);
        // JSON has no bytes; raw has no chunks, but SCTP carries 100 KiB
        const bytes = serialization === 'json' ? null : await from.sendBytes(SIZE, label);
        const wanted = sent.length + (bytes ? 1 : 0);
        const got = await until(`${label}: ${wanted} values`, async () => {
          const all = (await to.texts()).filter(entry => entry.label === label);
          return all.length >= wanted && all.map(entry => entry.text);
        });
        const expected = [...sent, ...bytes ? [bytes] : []].map(value => canonical(value));
        const same = reliable ? JSON.stringify(got.map(canonical)) === JSON.stringify(expected) : JSON.stringify(got.map(canonical).sort()) === JSON.stringify(expected.sort());
        if (!same) throw new Error(`${label}: ${JSON.stringify(got).slice(0, 500)}`);
      }
      result.forms.push({ label, ordered: seen.ordered, serialization: seen.serialization, metadata: seen.metadata, channelLabel: seen.channelLabel });
    }
  }
  result.wire = { a: await a.wire(), b: await b.wire() };
  // one by one: PeerJS 1.5.5 leaves every other connection of a peer open when it is destroyed
  for (const { label } of result.forms.slice(0, -1)) {
    await a.closeConnection(label);
    await until(`the close of ${label} at the other side`, async () => (await b.events()).some(event => event.closed === idA && event.label === label));
  }
  result.open = (await b.connections()).filter(one => one.open).length;
  await a.leave();
  await until('all closed at the other side', async () => (await b.connections()).every(one => !one.open));
  result.events = { a: await a.events(), b: await b.events() };
  return result;
});
