// node better_pair.mjs BASE ROOM STREAM MARK: a browser plays a camera by TCP, since no UDP gets through. It makes the file MARK then; once there is
// MARK.back, UDP gets through, and the browser, which chooses, changes to it.
import { existsSync, writeFileSync } from 'node:fs';
import { withBrowser } from './browser.mjs';
import { until } from './lib/until.mjs';

const [base, room, stream, mark] = process.argv.slice(2);

await withBrowser(async open => {
  const page = await open(`${base}/healthz`);
  await page.evaluate(([room, stream]) => t.play('v', `/whep/${room}/${stream}`), [room, stream]);
  await page.evaluate(() => t.watch('v', { frames: 10 }));
  const before = await page.evaluate(() => t.carried('v'));
  writeFileSync(mark, '');
  await until('UDP', () => existsSync(`${mark}.back`));
  await until('UDP in use', async () => await page.evaluate(() => t.carried('v')) === 'udp', 60000);
  // media of the gateway's comes by it too
  const received = () => page.evaluate(() => t.received('v'));
  const first = await received();
  const figures = await page.evaluate(() => t.watch('v', { frames: 60 }));
  return { before, after: await page.evaluate(() => t.carried('v')), bytes: await received() - first, figures };
});
