// node peerjs_libraries.mjs BASE PATH KEY: a PeerJS peer and simple-peerjs peers in an `sfu` room, where the gateway stands between the two
// libraries: each calls one of the other that does nothing but wait; texts and bytes both ways; an end of one is the end of the other.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { connect } from './lib/peerjs.mjs';
import { connect as connectSimple } from './lib/simple_peerjs.mjs';
import { until } from './lib/until.mjs';

const [url, path, key] = words;
const TEXT = 'Grüße 😀';
await withBrowser(async open => {
  const page = await connect(open, { url, path, key });
  const [called, calls] = [await connectSimple(null, { url, path, key, pingInterval: 5000 }), await connectSimple(null, { url, path, key, pingInterval: 5000 })];
  const id = await page.id();
  const result = {};

  // PeerJS calls: its BinaryPack is text and bytes at the other end
  await page.dial(called.id(), { label: 'packed', serialization: 'binary', reliable: true });
  await until('the connection at simple-peerjs', () => called.peers().includes(id));
  await page.sendText(TEXT, 'packed');
  await page.sendText({ list: [1, 'two'] }, 'packed');
  const { bytes } = await page.sendBytes(60000, 'packed');
  await until('three messages', () => called.texts().length === 3);
  result.called = called.texts().map(({ text, bytes: size }) => size === bytes ? size : text);
  called.sendText(TEXT);
  called.sendText(Buffer.alloc(60000, 7));

  // simple-peerjs calls: PeerJS hears of a `raw` connection
  await calls.dial(id);
  const raw = await until('the connection at PeerJS', async () => (await page.connections()).find(one => one.peer === calls.id() && one.open));
  result.raw = { serialization: raw.serialization, reliable: raw.reliable, ordered: raw.ordered };
  calls.sendText(TEXT);
  calls.sendText(Buffer.alloc(60000, 7));
  await page.sendText('back', raw.label);
  await until('an answer', () => calls.texts().length === 1);
  result.calls = calls.texts().map(({ text }) => text);
  const heard = await until('four messages', async () => (await page.texts()).length === 4 && page.texts());
  for (const label of ['packed', raw.label]) {
    const key = label === 'packed' ? 'packed' : 'raw';
    result[`of_${key}`] = heard.filter(entry => entry.label === label).map(({ text }) => text.bytes ?? text);
  }

  await page.closeConnection('packed');
  await until('the close at simple-peerjs', () => called.events().some(event => event.closed === id));
  calls.leave();
  await until('the close at PeerJS', async () => (await page.events()).some(event => event.closed === calls.id()));
  result.open = (await page.connections()).filter(one => one.open).length;
  called.leave();
  return result;
});
