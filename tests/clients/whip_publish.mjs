// node whip_publish.mjs BASE ROOM [CODEC]: one Chromium publishes its fake camera by WHIP, a second plays it; then the first leaves.
import { difference, withBrowser } from './browser.mjs';

const [base, room, codec] = process.argv.slice(2);
await withBrowser(async open => {
  const sender = await open(`${base}/healthz`);
  const viewer = await open(`${base}/healthz`);
  await sender.evaluate(([room, codec]) => t.publish('p', `/whip/${room}`, { codec }), [room, codec]);
  const sent = await sender.evaluate(() => t.sent('p'));
  await viewer.evaluate(room => t.play('v', `/whep/${room}`), room);
  const figures = await viewer.evaluate(() => t.watch('v', { frames: 60 }));
  const before = await viewer.evaluate(() => t.pixels('v'));
  await viewer.evaluate(() => t.sleep(700));
  const moved = difference(before, await viewer.evaluate(() => t.pixels('v')));
  const deleted = await sender.evaluate(() => t.end('p'));
  // the viewer is told by the end of its connection
  const ended = await viewer.evaluate(async () => {
    for (let i = 0; i < 150 && !['closed', 'failed', 'disconnected'].includes(t.state('v')); i++) await t.sleep(100);
    return t.state('v');
  });
  return { sent, figures, moved, deleted, ended };
});
