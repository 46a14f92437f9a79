// node vamp_peerjs.mjs BASE VAMP KEY: a `mesh` room. A Vamp client is there first; a PeerJS client opens a raw data connection with it and calls it, a
// simple-peerjs client connects to it: the texts of each reach the other, and so do the sounds.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { marked, seen } from './lib/marks.mjs';
import { connect as peerjs } from './lib/peerjs.mjs';
import { connect as simplePeerjs } from './lib/simple_peerjs.mjs';
import { until } from './lib/until.mjs';
import { connect } from './lib/vamp.mjs';

const [url, vamp, key] = words;
await withBrowser(async open => {
  const v = await connect(marked(open, 'vamp'), { url, vamp, client: 4, user: 'v', audio: true });
  const callers = async () => (await v.events()).filter(event => event['user joined']).map(event => event['user joined']);
  // the room, which keeps clips, calls who is alone
  await until('the room', async () => (await callers()).length === 1);
  const [room] = await callers();
  const members = (await (await fetch(`${url}/api/v1/rooms/${vamp}`)).json()).members;
  const id = members.find(member => member.dialect === 'vamp').id;
  const p = await peerjs(marked(open, 'peerjs'), { url, path: '/peerjs', key, id: 'of-peerjs', media: true });
  await p.dial(id, { serialization: 'raw' });
  const s = await simplePeerjs(null, { url, path: '/peerjs', key, id: 'of-simple', pingInterval: 5000 });
  await s.dial(id);
  const reads = (one, text) => until(`"${text}"`, async () => (await one.texts()).some(entry => entry.text === text));
  [await p.sendText('from peerjs'), s.sendText('from simple-peerjs')];
  for (const text of ['from peerjs', 'from simple-peerjs']) await reads(v, text);
  await v.sendText('from vamp');
  for (const one of [p, s]) await reads(one, 'from vamp');
  // one more connection with the same: the Vamp client knows it by an id of its own
  await p.call(id);
  await until('sound of PeerJS', async () => (await seen(v.page)).sounds.includes('peerjs'));
  await until('sound of Vamp', async () => (await seen(p.page)).sounds.includes('vamp'));
  const joined = (await callers()).filter(id => id !== room);
  if (new Set(joined).size !== 3) throw new Error(`ids: ${joined}`);
  await p.leave();
  const left = async () => (await v.events()).filter(event => event['user left']).map(event => event['user left']);
  await until('both of its ids gone', async () => (await left()).length === 2);
  return { joined, left: await left() };
});
process.exit(process.exitCode ?? 0);
