// node tribe_peerjs.mjs BASE ROOM KEY: a `mesh` room. A PeerJS client gives the room its camera, a tribe client plays it by the server. A direct
// connection of either with the other would be a second under the same id: it is refused, and the picture goes on.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { connect as peerjs } from './lib/peerjs.mjs';
import { until } from './lib/until.mjs';
import { connect as tribe } from './lib/tribe.mjs';

const [url, room, key] = words;
await withBrowser(async open => {
  const t = await tribe(open, { url: `${url.replace('http', 'ws')}/api`, room, user: 'tribe' });
  const p = await peerjs(open, { url, path: '/peerjs', key, id: 'of-peerjs', media: true });
  await p.call(room);
  const frames = async () => (await t.media()).filter(track => track.kind === 'video').reduce((sum, track) => sum + track.framesDecoded, 0);
  await until('the picture', async () => await frames() > 10);
  const members = (await (await fetch(`${url}/api/v1/rooms/${room}`)).json()).members;
  const [own, other] = ['tribe', 'peerjs'].map(dialect => members.find(member => member.dialect === dialect).id);
  await p.ask(own, { serialization: 'raw' });
  await until('the refusal', async () => (await p.events()).some(event => event.error === 'peer-unavailable'));
  const sdp = 'v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n';
  await t.send('exchangeSdp', { to: other.toUpperCase(), sdp: { type: 'offer', sdp } });
  const answer = await until('the refusal', async () => (await t.frames()).find(({ a, s }) => a === 'exchangeSdpR' && s === false));
  if (answer.e !== 1328) throw new Error(`answer: ${JSON.stringify(answer)}`);
  const before = await frames();
  await until('the picture goes on', async () => await frames() > before + 10);
  return { answer };
});
process.exit(process.exitCode ?? 0);
