// node address_change.mjs BASE ROOM STREAM MARK: a browser plays a camera of the room, publishes, and plays that too. It makes the file MARK when all
// is as it should be; once there is MARK.back, the gateway has another address.
import { existsSync, writeFileSync } from 'node:fs';
import { withBrowser } from './browser.mjs';
import { until } from './lib/until.mjs';

const [base, room, stream, mark] = process.argv.slice(2);

await withBrowser(async open => {
  const page = await open(`${base}/healthz`);
  await page.evaluate(([room, stream]) => t.play('camera', `/whep/${room}/${stream}`), [room, stream]);
  await page.evaluate(room => t.publish('own', `/whip/${room}/own`, { codec: 'H264' }), room);
  await page.evaluate(() => t.sent('own'));
  await page.evaluate(room => t.play('back', `/whep/${room}/own`), room);
  for (const name of ['camera', 'back']) {
    await page.evaluate(name => t.watch(name, { frames: 60 }), name);
    await page.evaluate(name => t.meterGaps(name), name);
  }
  await page.evaluate(() => t.sleep(1000));
  const gaps = names => page.evaluate(names => Object.fromEntries(names.map(name => [name, t.longestGap(name)])), names);
  const before = await gaps(['camera', 'back']);
  writeFileSync(mark, '');
  await until('another address', () => existsSync(`${mark}.back`));
  const after = {};
  for (const name of ['camera', 'back']) {
    after[name] = await page.evaluate(name => t.watch(name, { frames: 90 }), name);
  }
  return { before, gaps: await gaps(['camera', 'back']), after };
}, { flags: [`--unsafely-treat-insecure-origin-as-secure=${base}`] });
