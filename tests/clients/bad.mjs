// node bad.mjs BASE PLAYED ROOM LOSS: over lines that lose that part of all datagrams and take 100 ms each way, 30 ms more or less, one Chromium
// plays PLAYED, and another publishes its fake camera to ROOM, which a third plays over a good line. Both viewers wait with pictures as the
// built-in page does. Gives for each picture how much of the time it stood still, as Chromium says.
import { withBrowser } from './browser.mjs';
import { badLine } from './lib/bad.mjs';

const [base, played, room, loss] = process.argv.slice(2);
/** How long is looked on, in milliseconds, and how long lines and estimates settle before. */
const [TIME, SETTLE] = [10_000, 8_000];
/** What may stand still, and how often it is looked again: a busy machine has its own freezes. */
const [MOST, LOOKS] = [0.05, 4];

await withBrowser(async open => {
  const lines = [];
  const behind = async (page, seed) => page.exposeFunction('lineTo', async port => {
    const line = await badLine(port, seed);
    lines.push(line);
    return line.port;
  });
  const [viewer, sender, watcher] = [await open(`${base}/healthz`), await open(`${base}/healthz`), await open(`${base}/healthz`)];
  await behind(viewer, 1);
  await behind(sender, 2);
  await sender.evaluate(room => t.publish('p', `/whip/${room}`, { codec: 'VP8', size: [320, 180], by: 'lineTo' }), room);
  await viewer.evaluate(played => t.play('v', played, { by: 'lineTo' }), played);
  await watcher.evaluate(room => t.play('w', `/whep/${room}`), room);
  // all flow before the lines become bad: handshakes over bad lines are tested in simulated time
  await Promise.all([viewer.evaluate(() => t.watch('v', { frames: 30 })), watcher.evaluate(() => t.watch('w', { frames: 30 }))]);
  lines.forEach(line => line.set({ loss: Number(loss), delay: 100, jitter: 30 }));
  await Promise.all([viewer.evaluate(() => t.cushion('v')), watcher.evaluate(() => t.cushion('w'))]);
  await viewer.evaluate(time => t.sleep(time), SETTLE);
  let playing, published;
  const looks = [];
  do {
    [playing, published] = await Promise.all([
      viewer.evaluate(time => t.standstill('v', time), TIME), watcher.evaluate(time => t.standstill('w', time), TIME),
    ]);
    looks.push([playing.part, published.part]);
  } while (looks.length < LOOKS && Math.max(playing.part, published.part) > MOST);
  const peers = await watcher.evaluate(async () => (await fetch('/api/v1/peers')).json());
  const counts = lines.map(line => line.count());
  const deleted = await sender.evaluate(() => t.end('p'));
  lines.forEach(line => line.close());
  return { looks, playing, published, counts, peers, deleted };
});
