// node tcp.mjs BASE ROOM: one browser publishes and another plays where no UDP gets through.
import { withBrowser } from './browser.mjs';

const [base, room] = process.argv.slice(2);
await withBrowser(async open => {
  const publisher = await open(`${base}/healthz`);
  await publisher.evaluate(room => t.publish('p', `/whip/${room}`, { codec: 'H264', tcp: true }), room);
  await publisher.evaluate(() => t.sent('p'));
  const viewer = await open(`${base}/healthz`);
  await viewer.evaluate(room => t.play('v', `/whep/${room}`, { tcp: true }), room);
  const figures = await viewer.evaluate(() => t.watch('v', { frames: 90 }));
  const carried = [await publisher.evaluate(() => t.carried('p')), await viewer.evaluate(() => t.carried('v'))];
  const goodbye = await viewer.evaluate(() => t.dismissed('v'));
  const deleted = await publisher.evaluate(() => t.end('p'));
  return { figures, carried, goodbye, deleted };
});
