// node whip_simulcast.mjs BASE ROOM CODEC: one Chromium publishes its fake camera by WHIP in three sizes, a second plays it; until the
// gateway says that all three come and one is watched.
import { withBrowser } from './browser.mjs';

const [base, room, codec] = process.argv.slice(2);
const encodings = [['q', 4], ['h', 2], ['f', 1]].map(([rid, scaleResolutionDownBy]) => ({ rid, scaleResolutionDownBy }));
const wanted = `video/${codec}`;
await withBrowser(async open => {
  const sender = await open(`${base}/healthz`);
  const viewer = await open(`${base}/healthz`);
  await sender.evaluate(([room, codec, encodings]) => t.publish('p', `/whip/${room}`, { codec, encodings, size: [1280, 720] }), [room, codec, encodings]);
  await viewer.evaluate(room => t.play('v', `/whep/${room}`), room);
  const figures = await viewer.evaluate(() => t.watch('v', { frames: 60 }));
  // Chromium begins with the smallest and adds the others as its estimate grows
  const { layers, outbound } = await sender.evaluate(async () => {
    for (let i = 0; ; i++) {
      const peers = await (await fetch('/api/v1/peers')).json();
      const layers = peers.flatMap(peer => peer.layers).filter(layer => layer.kind === 'video');
      const flowing = layers.filter(layer => layer.packets > 50 && layer.bitrate_bps > 0);
      if (i === 600 || (flowing.length === 3 && layers.some(layer => layer.watched))) return { layers, outbound: await t.outbound('p') };
      await t.sleep(100);
    }
  });
  return { figures, layers, outbound, wanted, deleted: await sender.evaluate(() => t.end('p')) };
});
