// node whip_simulcast.mjs BASE ROOM CODEC: one Chromium publishes its fake camera by WHIP in three sizes, a second plays it; until the
// gateway says that all three come and one is watched. Then the first one's line loses 5 % of what it carries.
import { withBrowser } from './browser.mjs';
import { lossyLine } from './lib/lossy.mjs';

const [base, room, codec] = process.argv.slice(2);
const encodings = [['q', 4], ['h', 2], ['f', 1]].map(([rid, scaleResolutionDownBy]) => ({ rid, scaleResolutionDownBy }));
const wanted = `video/${codec}`;

/** The layers of the pictures that the gateway receives, as soon as they are `enough`, or after a minute. */
const layers = (page, enough) => page.evaluate(async enough => {
  const good = eval(enough);
  for (let i = 0; ; i++) {
    const peers = await (await fetch('/api/v1/peers')).json();
    const found = peers.flatMap(peer => peer.layers).filter(layer => layer.kind === 'video');
    if (i === 600 || good(found)) return found;
    await t.sleep(100);
  }
}, enough.toString());

await withBrowser(async open => {
  const sender = await open(`${base}/healthz`);
  const viewer = await open(`${base}/healthz`);
  let line;
  await sender.exposeFunction('lineTo', async port => {
    line = await lossyLine(port);
    return line.port;
  });
  await sender.evaluate(([room, codec, encodings]) => t.publish('p', `/whip/${room}`, { codec, encodings, size: [960, 540], by: 'lineTo' }), [room, codec, encodings]);
  await viewer.evaluate(room => t.play('v', `/whep/${room}`), room);
  const figures = await viewer.evaluate(() => t.watch('v', { frames: 60 }));
  // Chromium begins with the smallest and adds the others as its estimate grows
  const found = await layers(viewer, layers =>
    layers.filter(layer => layer.packets > 50 && layer.bitrate_bps > 0).length === 3 && layers.some(layer => layer.watched));
  // nothing is in the viewer's way: it moves on from the smallest. Chromium makes all of them smaller on a busy machine
  const widest = await viewer.evaluate(async () => {
    for (let i = 0; i < 600 && t.size('v')[0] <= 240; i++) await t.sleep(100);
    return t.size('v');
  });
  line.lose(0.05);
  const lossy = await layers(viewer, layers => layers.reduce((sum, layer) => sum + layer.recovered, 0) >= 10);
  const recovered = lossy.reduce((sum, layer) => sum + layer.recovered, 0);
  const outbound = await sender.evaluate(() => t.outbound('p'));
  const deleted = await sender.evaluate(() => t.end('p'));
  line.close();
  return { figures, layers: found, widest, lossy, lost: line.lost(), recovered, outbound, wanted, deleted };
});
