// node whep_colours.mjs BASE WHEP_PATH ROUNDS: plays a film that is red, green, blue, over and over; gives the colours as they came.
import { withBrowser } from './browser.mjs';

const [base, path, rounds] = process.argv.slice(2);
await withBrowser(async open => {
  const page = await open(`${base}/healthz`);
  await page.evaluate(path => t.play('v', path), path);
  const figures = await page.evaluate(() => t.watch('v', { frames: 30 }));
  // a machine that is busy elsewhere may miss a colour: only a run of unbroken rounds counts
  const { seen, run } = await page.evaluate(async rounds => {
    const after = { red: 'green', green: 'blue', blue: 'red' };
    const runOf = seen => seen.reduce((run, colour, i) => (i > 0 && after[seen[i - 1]] === colour ? run + 1 : 0), 0);
    const seen = await t.colours('v', seen => runOf(seen) >= 3 * rounds);
    return { seen, run: runOf(seen) };
  }, +rounds);
  const sources = await page.evaluate(() => fetch('/api/v1/sources').then(r => r.json()));
  const later = await page.evaluate(() => t.watch('v', { frames: 1 }));
  await page.evaluate(() => t.end('v'));
  return { figures, later, seen, run, sources };
});
