// node peerjs_back.mjs BASE ROOM KEY: an `sfu` room. Two PeerJS clients call it with their cameras, a third with nothing to send. The server calls the third
// back in another's name: the one connection brings that one's picture and sound, and takes the third's camera to the others.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { marked, seen } from './lib/marks.mjs';
import { connect } from './lib/peerjs.mjs';
import { until } from './lib/until.mjs';

const [url, room, key] = words;
await withBrowser(async open => {
  const client = mark => connect(marked(open, mark), { url, path: '/peerjs', key, id: `of-${mark}`, media: true });
  const [a, b, c] = [await client('peerjs'), await client('page'), await client('vamp')];
  for (const one of [a, b]) await one.call(room);
  for (const [one, mark] of [[a, 'page'], [b, 'peerjs']]) await until(`the picture of ${mark}`, async () => (await seen(one.page)).pictures.includes(mark));
  await c.call(room, true);
  const both = await until('picture and sound of another', async () => {
    const { pictures, sounds } = await seen(c.page);
    return pictures.find(mark => sounds.includes(mark));
  });
  for (const one of [a, b]) {
    await until('the picture of the third', async () => (await seen(one.page)).pictures.includes('vamp'));
    await until('the sound of the third', async () => (await seen(one.page)).sounds.includes('vamp'));
  }
  return { both, states: await c.states() };
});
