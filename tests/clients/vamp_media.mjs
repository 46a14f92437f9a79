// node vamp_media.mjs URL VAMP [VERSION]: an `sfu` vamp. A page with camera and microphone is the first and never offers: the server's one offer brings the
// second's picture and sound and takes its own. A client in Node, whose stack has no H264, takes the sound of who comes after it. When the one leaves
// with whom the first's own connection was made, the others still hear it.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { marked, seen } from './lib/marks.mjs';
import { until } from './lib/until.mjs';
import { connect } from './lib/vamp.mjs';

const [url, vamp, version = '4'] = words;
await withBrowser(async open => {
  const page = (mark, options) => connect(marked(open, mark), { url, vamp, client: Number(version), user: mark, audio: true, ...options });
  const links = async (one, count) => until(`${count} connections`, async () => (await one.peers()).length === count);
  const sees = (one, mark) => until(`the picture of ${mark}`, async () => (await seen(one.page)).pictures.includes(mark));
  const hears = (one, mark) => until(`the sound of ${mark}`, async () => (await seen(one.page)).sounds.includes(mark));
  const a = await page('vamp', { video: true });
  const b = await page('peerjs', { video: true });
  for (const one of [a, b]) await links(one, 1);
  for (const [one, mark] of [[a, 'peerjs'], [b, 'vamp']]) [await sees(one, mark), await hears(one, mark)];
  const result = { states: await a.states() };
  if ((await a.events()).some(event => event.returned)) throw new Error('the first has offered');
  if (result.states.length !== 1) throw new Error(`more than one connection: ${result.states}`);

  const n = await connect(null, { url, vamp, client: Number(version), user: 'node' });
  for (const one of [a, b, n]) await links(one, 2);
  const c = await page('tribe');
  for (const one of [a, b, n, c]) await links(one, 3);
  result.node = await until('sound in Node', async () => (await n.media()).find(track => track.kind === 'audio' && track.packets > 50));
  for (const one of [a, b]) await hears(one, 'tribe');
  for (const mark of ['vamp', 'peerjs']) await hears(c, mark);

  const gone = await b.id();
  await b.leave();
  for (const one of [a, n, c]) await until('the leave', async () => (await one.events()).some(event => event['user left'] === gone));
  const d = await page('page');
  await hears(d, 'vamp');
  await hears(d, 'tribe');
  await hears(a, 'page');
  result.errors = [...await a.events(), ...n.events(), ...await c.events(), ...await d.events()].filter(event => event.error);
  if (result.errors.length > 0) throw new Error(`errors: ${JSON.stringify(result.errors)}`);
  return result;
});
process.exit(process.exitCode ?? 0);
