// The gateway goes and comes back: the page says so, returns by itself and is seen again. argv: base, a file that is made when live
import { writeFileSync } from 'node:fs';
import { withBrowser } from './browser.mjs';
import { enter, join, playing, text } from './page.mjs';

const [base, flag] = process.argv.slice(2);
await withBrowser(async open => {
  const anna = await enter(open, base, 'main', { tiles: ['test'] });
  const ben = await enter(open, base, 'main', { tiles: ['test'] });
  await join(anna, 'Anna');
  await anna.click('#mic');
  await playing(ben, 'Anna');
  writeFileSync(flag, '');
  const lost = await text(anna, '#status');
  await anna.waitForSelector('#status', { state: 'hidden', timeout: 90_000 });
  await ben.waitForSelector('#status', { state: 'hidden', timeout: 90_000 });
  await playing(anna, 'test', { frames: 30 });
  await playing(ben, 'Anna', { frames: 30 });
  await ben.waitForSelector('.tile[data-name="Anna"] .mark', { state: 'visible' });
  return { lost };
});
