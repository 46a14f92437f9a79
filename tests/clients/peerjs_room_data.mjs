// node peerjs_room_data.mjs BASE PATH KEY ROOM: PeerJS data connections with the room itself, one of each serialization, ordered and not;
// one of a serialization that nobody knows is closed.
import { withBrowser } from './browser.mjs';
import { connect } from './lib/peerjs.mjs';
import { until } from './lib/until.mjs';

const [url, path, key, room] = process.argv.slice(2);
await withBrowser(async open => {
  const a = await connect(open, { url, path, key });
  const result = { forms: [] };
  for (const serialization of ['binary', 'json', 'raw']) {
    for (const reliable of [false, true]) {
      const label = `${serialization}-${reliable}`;
      await a.dial(room, { label, reliable, serialization });
      const one = (await a.connections()).find(connection => connection.label === label);
      result.forms.push({ label, ordered: one.ordered, open: one.open });
    }
  }
  // the connections are independent of each other
  await a.closeConnection('json-true');
  await until('the close', async () => (await a.events()).some(event => event.label === 'json-true'));
  result.open = (await a.connections()).filter(connection => connection.open).length;
  result.peers = await a.peers();
  return result;
});
