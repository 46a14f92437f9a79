// node whep_play.mjs BASE PATH [CODEC]: plays a stream by WHEP and looks at it.
import { difference, withBrowser } from './browser.mjs';

const [base, path, codec] = process.argv.slice(2);
await withBrowser(async open => {
  const page = await open(`${base}/healthz`);
  await page.evaluate(([path, codec]) => t.play('v', path, { codec }), [path, codec]);
  const figures = await page.evaluate(() => t.watch('v', { frames: 101 }));
  const before = await page.evaluate(() => t.pixels('v'));
  await page.evaluate(() => t.sleep(1200));
  const after = await page.evaluate(() => t.pixels('v'));
  const deleted = await page.evaluate(() => t.end('v'));
  return { figures, moved: difference(before, after), bright: Math.max(...after), deleted };
});
