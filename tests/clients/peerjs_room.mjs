// node peerjs_room.mjs BASE PATH KEY ROOM: two PeerJS peers with cameras in an `sfu` room that has a camera of its own, where every
// connection ends at the gateway. Both call the room: each sees the room's picture and is called in the other's name. One calls the
// other by its id. Hanging up and leaving end the calls at the other side.
import { withBrowser } from './browser.mjs';
import { connect } from './lib/peerjs.mjs';
import { until } from './lib/until.mjs';

const [url, path, key, room] = process.argv.slice(2);
await withBrowser(async open => {
  const result = {};
  const a = await connect(open, { url, path, key, media: true });
  const b = await connect(open, { url, path, key, media: true });
  const [idA, idB] = [await a.id(), await b.id()];
  const pictures = async (client, many) => {
    const seen = (await client.media()).filter(track => track.kind === 'video' && track.framesDecoded > 20);
    return seen.length >= many && seen.map(({ width, height }) => ({ width, height }));
  };
  await a.call(room);
  result.alone = await until("the room's picture at a", () => pictures(a, 1));
  await b.call(room);
  result.a = await until("the room's and b's picture at a", () => pictures(a, 2));
  result.b = await until("the room's and a's picture at b", () => pictures(b, 2));
  result.sound = await until('sound at a', async () => (await a.media()).some(track => track.kind === 'audio' && track.audioEnergy > 0));
  // the callee's end: hanging up ends only that call
  await a.hangUp(idB);
  await until('the end of that call at a', async () => (await a.events()).some(event => event.hungUp === idB));
  await until("the room's picture goes on at a", () => pictures(a, 1));
  // a call by id is answered with that member's media
  await a.call(idB);
  await until("b's picture again at a", () => pictures(a, 2));
  await b.leave();
  await until('the end of the call with b at a', async () => (await a.events()).filter(event => event.hungUp === idB).length >= 2);
  // nothing is left of a call at the gateway, whoever ended it
  const peers = async () => Number(/^portico_peers (\d+)$/m.exec(await (await fetch(`${url}/metrics`)).text())[1]);
  const before = await peers();
  await a.hangUp(room);
  await until('the end of the call with the room at a', async () => (await a.events()).some(event => event.hungUp === room));
  await until('its end at the gateway', async () => await peers() < before);
  await a.call('nobody-is-called-so');
  result.absent = await until('the error of an absent peer', async () => (await a.events()).find(event => event.error === 'peer-unavailable'));
  result.ids = { a: idA, b: idB };
  result.events = await a.events();
  return result;
});
