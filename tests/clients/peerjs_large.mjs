// node peerjs_large.mjs BASE PATH KEY ROOM: messages that are too large for somebody, by two PeerJS peers and by simple-peerjs: what arrives,
// and what the sender hears. In an `sfu` room everything passes the gateway.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { connect } from './lib/peerjs.mjs';
import { connect as connectSimple } from './lib/simple_peerjs.mjs';
import { until } from './lib/until.mjs';

const [url, path, key, room] = words;
const MiB = 1 << 20;
await withBrowser(async open => {
  const [a, b] = [await connect(open, { url, path, key }), await connect(open, { url, path, key })];
  const [idA, idB] = [await a.id(), await b.id()];
  const result = {};
  const arrives = (at, wanted) => until(`${JSON.stringify(wanted)}`, async () =>
    (await at.texts()).some(({ label, text }) => label === wanted.label && (text.sha256 ?? text) === wanted.text));
  for (const serialization of ['binary', 'json', 'raw']) {
    await a.dial(idB, { label: serialization, reliable: true, serialization });
    await until(`${serialization} at the called side`, async () => (await b.connections()).some(one => one.label === serialization && one.open));
  }
  // in parts, up to 16 MiB
  const { sha256 } = await a.sendBytes(15 * MiB, 'binary');
  await arrives(b, { label: 'binary', text: sha256 });
  await a.sendBytes(17 * MiB, 'binary');
  await a.sendText('after', 'binary');
  await arrives(b, { label: 'binary', text: 'after' });
  result.binary = (await b.texts()).filter(({ label }) => label === 'binary').map(({ text }) => text.bytes ?? text);

  // PeerJS itself keeps what is too large for one message, each serialization in its own way
  await a.sendText('x'.repeat(20000), 'json');
  result.json = await until('the error of a large JSON', async () => (await a.events()).find(event => event.connection === idB)?.error);
  await a.sendText('after', 'json');
  await arrives(b, { label: 'json', text: 'after' });
  await a.sendBytes(300 * 1024, 'raw').catch(error => { result.raw = String(error); });
  await until('the end of the raw connection', async () => (await b.events()).some(event => event.closed === idA && event.label === 'raw'));

  // with the room a request that is too large is answered
  await a.dial(room, { label: 'room', reliable: true, serialization: 'binary' });
  await a.sendBytes(17 * MiB, 'room');
  result.room = (await until('an answer', async () => (await a.texts()).find(({ label }) => label === 'room'))).text.value;

  // simple-peerjs writes what its caller gives it
  const simple = await connectSimple(null, { url, path, key, pingInterval: 5000 });
  await simple.dial(room);
  simple.sendText(Buffer.alloc(200 * 1024, 1), room);
  simple.sendText(JSON.stringify({ url: 'x'.repeat(100 * 1024), method: 'GET' }), room);
  result.simple = JSON.parse((await until('an answer', () => simple.texts()[0])).text);
  simple.leave();
  return result;
});
