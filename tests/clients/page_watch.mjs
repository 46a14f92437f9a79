// From the list into a room: the test source is seen and heard, its figures are shown. argv: base
import { withBrowser } from './browser.mjs';
import { LIMIT, enter, playing, size, text } from './page.mjs';

const [base] = process.argv.slice(2);
await withBrowser(async open => {
  const page = await enter(open, base, 'main', { tiles: ['test'] });
  const muted = await page.$eval('.tile video', video => video.muted);
  await page.click('#tap-sound');
  const figures = await playing(page, 'test', { frames: 100, sound: true });
  await page.click('#show-figures');
  await page.waitForFunction(() => /^\d/.test(document.querySelector('.plot dd').textContent), null, { timeout: LIMIT });
  const path = await text(page, '.tile .path');
  const drawn = await page.$$eval('.plot canvas', all => all.map(canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean)));
  const shown = await page.$$eval('.plot', all => all.map(plot => plot.querySelector('dt').textContent + ': ' + plot.querySelector('dd').textContent));
  return {
    muted, figures, shown, drawn, path, size: await size(page, 'test'), codec: await text(page, '.tile .codec'),
    tapGone: await page.isHidden('#tap-sound'), title: await page.title(), address: new URL(page.url()).hash,
  };
});
