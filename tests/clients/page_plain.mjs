// A visitor from another address, over plain HTTP: watches, and is told why there is no camera. argv: link to join with
import { withBrowser } from './browser.mjs';
import { playing, text } from './page.mjs';

const [joins] = process.argv.slice(2);
await withBrowser(async open => {
  const page = await open(joins);
  const [secure, devices] = await page.evaluate(() => [isSecureContext, !!navigator.mediaDevices]);
  const figures = await playing(page, 'test');
  await page.click('#join-button');
  const told = await text(page, '#note');
  return { secure, devices, figures, told };
});
