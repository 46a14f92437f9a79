// node peerjs_bridge.mjs SERVER BRIDGE CALLED: two PeerJS peers with cameras at a PeerJS server. `caller` calls the bridge and opens a data
// connection with it; CALLED waits to be called. Both get the picture of the bridge's room. `caller` says `from afar` until somebody in the room
// answers, then both leave.
import { withBrowser } from './browser.mjs';
import { connect } from './lib/peerjs.mjs';
import { until } from './lib/until.mjs';

const [url, bridge, called] = process.argv.slice(2);
await withBrowser(async open => {
  const b = await connect(open, { url, id: called, media: true });
  const a = await connect(open, { url, id: 'caller', media: true });
  await a.call(bridge);
  await a.dial(bridge, { reliable: true });
  const picture = client => until('the picture of the room', async () =>
    (await client.media()).filter(track => track.kind === 'video' && track.framesDecoded > 20).map(({ width, height }) => ({ width, height }))[0]);
  const result = { a: await picture(a), b: await picture(b) };
  result.texts = await until('an answer of the room', async () => {
    await a.sendText('from afar');
    await new Promise(done => setTimeout(done, 300));
    const texts = await a.texts();
    return texts.length > 0 && texts;
  });
  result.events = await a.events();
  for (const client of [a, b]) {
    // destroying a peer closes every second of its connections only: the library's list shrinks while it is walked
    await client.hangUp(bridge);
    await client.closeConnection(bridge);
    await client.leave();
  }
  // a browser that is closed at once says no goodbye
  await new Promise(done => setTimeout(done, 1000));
  return result;
});
