// node peerjs_ring.mjs BASE PATH KEY: calls by id in an `sfu` room, where every connection ends at the gateway. Three PeerJS peers with
// cameras of their own. A call rings at the one that is called, with what the caller says of itself; the caller's is answered when it is
// taken. Who hangs up on one goes on with the other. A call that nobody takes ends when the one that is called goes.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { marked, seen } from './lib/marks.mjs';
import { connect } from './lib/peerjs.mjs';
import { until } from './lib/until.mjs';

const [url, path, key] = words;
const pause = time => new Promise(done => setTimeout(done, time));
await withBrowser(async open => {
  const client = mark => connect(marked(open, mark), { url, path, key, id: `of-${mark}`, media: true, picksUp: false });
  const [a, b, c] = [await client('peerjs'), await client('page'), await client('vamp')];
  const result = {};
  const sees = (one, mark) => until(`the picture and sound of ${mark}`, async () => {
    const { pictures, sounds } = await seen(one.page);
    return pictures.includes(mark) && sounds.includes(mark);
  });
  const rings = one => until('a call that rings', async () => (await one.ringing())[0]);

  await a.callWith('of-page', { name: 'Ann' });
  result.ring = await rings(b);
  await pause(1000);
  result.early = await a.answered();
  await b.pickUp('of-peerjs');
  await sees(a, 'page');
  await sees(b, 'peerjs');
  result.answered = await a.answered();

  await a.callWith('of-vamp');
  await rings(c);
  await c.pickUp('of-peerjs');
  await sees(a, 'vamp');
  await sees(c, 'peerjs');

  // the caller hangs up on the first it called: that one hears it, and the other sees and hears on
  await a.hangUp('of-page');
  await until('the end of the call at b', async () => (await b.events()).some(event => event.hungUp === 'of-peerjs'));
  const frames = async () => Math.max(...(await c.media()).filter(track => track.kind === 'video').map(track => track.framesDecoded));
  const before = await frames();
  result.goesOn = await until('more pictures at c', async () => await frames() > before + 15);
  result.openAtC = (await c.events()).filter(event => 'hungUp' in event).length;

  // nobody takes it
  await a.callWith('of-page');
  await rings(b);
  await b.leave();
  result.untaken = await until('the error of the call that nobody took', async () => (await a.events()).find(event => event.error === 'peer-unavailable'));
  return result;
});
