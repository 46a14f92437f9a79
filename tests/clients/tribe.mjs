// node tribe.mjs BASE ROOM: two clients written from the tribe document alone, in two pages of Chromium. Each publishes its fake
// camera and plays the other's; then messages, orientation, a clean leave.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { bearer, connect } from './lib/tribe.mjs';
import { until } from './lib/until.mjs';

const [base, room] = words;

/** Waits for picture and sound of a downlink. */
const watch = client => until('picture and sound on a downlink', async () => {
  const tracks = await client.media();
  const video = tracks.find(track => track.kind === 'video' && track.framesDecoded >= 30);
  const audio = tracks.find(track => track.kind === 'audio' && track.audioEnergy > 0);
  return video && audio && { framesDecoded: video.framesDecoded, audioEnergy: audio.audioEnergy, downlinks: await client.links() };
});

await withBrowser(async open => {
  const url = `${base.replace('http', 'ws')}/api`;
  const [a, b] = [await connect(open, { url }), await connect(open, { url })];
  await a.send('sendMessage', { to: 'x', message: 1 });
  const early = await a.wait('sendMessageR');
  await a.raw('{not json');
  const garbage = await a.wait('generalR');
  const joinA = await a.join(room, bearer('u1'));
  await a.publish();
  await a.wait('eventWebrtcUp');
  const joinB = await b.join(room, bearer('u2'));
  await b.publish();
  const seenByA = await watch(a);
  const seenByB = await watch(b);
  await a.send('sendMessage', { to: joinB.d.socketId, message: { isVideoEnabled: false } });
  const message = await a.wait('sendMessageR', 2);
  const told = await b.wait('eventMessage');
  await b.send('orientationChange', { orientation: 0, camera: 'back' });
  const turned = await a.wait('eventOrientationChange', 2);
  await b.leave();
  const left = await a.wait('eventLeave');
  const order = (await a.frames()).map(frame => frame.a);
  return { early, garbage, joinA, joinB, seenByA, seenByB, message, told, turned, left, order };
});
