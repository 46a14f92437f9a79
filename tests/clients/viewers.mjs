// node viewers.mjs BASE PATH N: N viewers in one browser; reports each one's figures while all watch, then the metrics page.
import { withBrowser } from './browser.mjs';

const [base, path, count] = process.argv.slice(2);
await withBrowser(async open => {
  const page = await open(`${base}/healthz`);
  const names = Array.from({ length: +count }, (_, i) => `v${i}`);
  const threads = () => page.evaluate(async () => +(await (await fetch('/metrics')).text()).match(/^process_threads (\d+)$/m)[1]);
  const threadsWith = [];
  for (const name of names) {
    await page.evaluate(([name, path]) => t.play(name, path), [name, path]);
    await page.evaluate(name => t.watch(name, { frames: 10 }), name);
    threadsWith.push(await threads());
  }
  const figures = [];
  for (const name of names) figures.push(await page.evaluate(name => t.watch(name, { frames: 30 }), name));
  const metrics = await page.evaluate(() => fetch('/metrics').then(r => r.text()));
  const sources = await page.evaluate(() => fetch('/api/v1/sources').then(r => r.json()));
  for (const name of names) await page.evaluate(name => t.end(name), name);
  return { figures, metrics, sources, threadsWith };
});
