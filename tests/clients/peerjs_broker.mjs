// node peerjs_broker.mjs BASE PATH KEY [allowed|refused]: what PeerJS sees of the broker itself: ids, list of peers (which the broker
// allows or refuses), an id that is taken, a wrong key, disconnect and reconnect with the same id, an absent peer, a destroyed one.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { connect } from './lib/peerjs.mjs';
import { until } from './lib/until.mjs';

const [url, path, key, discovery = 'refused'] = words;
await withBrowser(async open => {
  const unique = Math.random().toString(36).slice(2);
  const [nameA, nameB] = [`anna-${unique}`, `ben_${unique}`];
  const a = await connect(open, { url, path, key, id: nameA });
  const b = await connect(open, { url, path, key, id: nameB });
  // a peer whose request for the list is refused leaves the broker: it is one of its own
  const third = await connect(open, { url, path, key });
  const result = { given: await third.id(), list: await third.listAllPeers() };
  if (discovery === 'allowed' && ![nameA, nameB, result.given].every(id => result.list.list?.includes(id))) throw new Error(`the list lacks a peer: ${JSON.stringify(result.list)}`);
  if (discovery === 'refused' && !result.list.error) throw new Error(`the list was not refused: ${JSON.stringify(result.list)}`);

  const kind = async client => (await client.events()).find(event => event.error);
  result.taken = await kind(await connect(open, { url, path, key, id: nameA }));
  if (result.taken.error !== 'unavailable-id') throw new Error(`a taken id: ${JSON.stringify(result.taken)}`);
  result.wrongKey = await kind(await connect(open, { url, path, key: `${key}x`, id: `carl-${unique}` }));
  if (!result.wrongKey) throw new Error('a wrong key was taken');

  // the one whose id was asked for is undisturbed
  await b.dial(nameA);
  await b.sendText('before', nameA);
  await until('the text', async () => (await a.texts()).some(entry => entry.text === 'before'));

  // without the broker the connection stays; back with it, the id is the same and can be called
  await a.disconnect();
  await until('disconnected', () => a.isDisconnected());
  await b.sendText('between', nameA);
  await until('the text over the open connection', async () => (await a.texts()).some(entry => entry.text === 'between'));
  await new Promise(done => setTimeout(done, 1000));
  await a.reconnect();
  await until('open again', async () => (await a.events()).filter(event => event.open === nameA).length === 2);
  const c = await connect(open, { url, path, key });
  await c.dial(nameA);
  await c.sendText('after', nameA);
  await until('the text of a third', async () => (await a.texts()).some(entry => entry.text === 'after'));

  // EXPIRE becomes this error
  await a.ask(`ghost-${unique}`);
  result.absent = await until('the error of an absent peer', async () => (await a.events()).find(event => event.error === 'peer-unavailable'));
  await b.leave();
  result.destroyed = await b.isDestroyed();
  await a.ask(nameB);
  await until('the error of a destroyed peer', async () => (await a.events()).filter(event => event.error === 'peer-unavailable').length === 2);
  // its id is free again
  result.again = await (await connect(open, { url, path, key, id: nameB })).id();
  result.events = await a.events();
  return result;
});
