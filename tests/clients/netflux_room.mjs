// node netflux_room.mjs URL KEY TRIBE: two netflux members and a tribe client (websocket at TRIBE, written from its document) in the room KEY
// exchange text by way of the gateway, which is one more member of the netflux group. Reports what each heard.
import WebSocket from 'ws';
import { withBrowser } from './browser.mjs';
import { connect } from './lib/netflux.mjs';
import { bearer } from './lib/tribe.mjs';
import { until } from './lib/until.mjs';

const [url, key, tribe] = process.argv.slice(2);

/** A tribe client that only talks. */
async function talker() {
  const socket = new WebSocket(tribe);
  const heard = [];
  const answers = [];
  socket.on('message', data => {
    const message = JSON.parse(data);
    if (message.a === 'eventMessage') heard.push({ from: message.d.from.userId, text: message.d.message.text });
    else answers.push(message);
  });
  await new Promise((done, failed) => socket.on('open', done).on('error', failed));
  const say = (a, d) => socket.send(JSON.stringify({ a, d }));
  say('join', { roomId: key, bearer: bearer('tribe-user') });
  await until('joined', () => answers.find(answer => answer.a === 'joinR'));
  return { say, heard, answers, sessions: () => answers.find(answer => answer.a === 'joinR').d.sessions, close: () => socket.close() };
}

await withBrowser(async open => {
  const first = await connect(open, { url, key });
  const second = await connect(open, { url, key });
  const ids = [await first.id(), await second.id()];
  await until('each other', async () => (await first.peers()).includes(ids[1]) && (await second.peers()).includes(ids[0]));
  const alone = [await first.peers(), await second.peers()];
  const other = await talker();
  // the gateway comes into the group as one more member
  await until('the gateway', async () => (await first.peers()).length === 2 && (await second.peers()).length === 2);
  const gateway = (await first.peers()).find(id => id !== ids[1]);
  const names = other.sessions().map(session => session.userId);
  await until('its channels', async () => {
    for (const { socketId } of other.sessions()) other.say('sendMessage', { to: socketId, message: { text: 'from tribe' } });
    const heard = async member => (await member.texts()).some(it => it.from === gateway && it.text === 'from tribe');
    return await heard(first) && await heard(second);
  });
  const long = 'ü'.repeat(8000);
  await first.sendText('from netflux 1');
  await second.sendText(long);
  await until('words of both', () => other.heard.length >= 2);
  // a third one joins the mesh with the gateway in it
  const third = await connect(open, { url, key });
  await until('three and the gateway', async () => (await third.peers()).length === 3);
  await third.sendText('from netflux 3');
  await until('words of the third', () => other.heard.some(it => it.text === 'from netflux 3'));
  const thirdId = await third.id();
  await until('among themselves', async () => (await first.texts()).some(it => it.from === thirdId && it.text === 'from netflux 3'));
  await until('JOINED', async () => await third.group() === 'JOINED');
  // what is longer than a text of the room comes in parts; what is longer than crosses, its sender is told of
  const said = other.heard.length;
  await first.sendText('a'.repeat(40_000));
  await until('the parts', () => other.heard.slice(said).reduce((sum, it) => sum + it.text.length, 0) >= 40_000);
  const parts = other.heard.splice(said).map(it => ({ ...it, text: it.text.length, letters: [...new Set(it.text)].join('') }));
  await first.sendText('b'.repeat(200_000));
  const complaint = await until('the complaint', async () => (await first.texts()).find(it => it.from === gateway && it.text?.startsWith('Portico:')));
  const heard = other.heard.map(it => ({ ...it, text: it.text === long ? 'long' : it.text }));
  // the other leaves, and so does the gateway
  other.close();
  await until('among themselves again', async () => (await first.peers()).length === 2 && (await third.peers()).length === 2);
  const left = (await first.peers()).sort();
  return { ids: [...ids, thirdId], gateway, names, alone, heard, parts, complaint: complaint.text, left, group: await first.group() };
});
