// node simple_peerjs.mjs BASE PATH KEY: two simple-peerjs clients in Node: connect, strings and buffers both ways, an absent peer, an id of
// one's own, an end; then one that sends heartbeats as the library does by default, about one each millisecond.
import { words } from './lib/args.mjs';
import { withNode } from './lib/node_client.mjs';
import { connect } from './lib/simple_peerjs.mjs';
import { until } from './lib/until.mjs';

const [url, path, key] = words;
await withNode(async () => {
  const unique = Math.random().toString(36).slice(2);
  const a = await connect(null, { url, path, key, pingInterval: 5000 });
  const b = await connect(null, { url, path, key, pingInterval: 5000, id: `b${unique}` });
  const result = { a: a.id(), b: b.id() };
  if (b.id() !== `b${unique}`) throw new Error(`another id than asked for: ${b.id()}`);
  await a.dial(b.id());
  await until('the connection at the called side', () => b.peers().includes(a.id()));
  const buffer = Buffer.alloc(60000, 7);
  for (const [from, to] of [[a, b], [b, a]]) {
    from.sendText('Grüße 😀');
    from.sendText(buffer);
    from.sendText(JSON.stringify({ url: 'account/id', method: 'GET' }));
    await until('three messages', () => to.texts().length === 3);
    if (to.texts()[0].text !== 'Grüße 😀' || to.texts()[1].bytes !== 60000 || JSON.parse(to.texts()[2].text).method !== 'GET') throw new Error(`other messages: ${JSON.stringify(to.texts()).slice(0, 300)}`);
  }
  result.wire = { a: a.wire(), b: b.wire() };
  result.absent = await a.dial(`ghost${unique}`).then(() => 'connected', error => error.type);
  if (result.absent !== 'peer-unavailable') throw new Error(`an absent peer: ${result.absent}`);

  // the channel outlives the broker's part
  b.disconnect();
  b.sendText('still here');
  await until('a message without the broker', () => a.texts().length === 4);
  b.leave();
  await until('the close', () => a.events().some(event => event.closed === b.id()));

  const busy = await connect(null, { url, path, key });
  await busy.dial(a.id());
  busy.sendText('through heartbeats');
  await until('a message of the busy one', () => a.texts().some(entry => entry.text === 'through heartbeats'));
  result.events = { a: a.events(), b: b.events(), busy: busy.events() };
  a.leave();
  busy.leave();
  return result;
});
