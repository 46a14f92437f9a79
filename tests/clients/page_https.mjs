// Visitors from another address, over HTTPS. argv: base, room, link to join with, link that only watches
import { withBrowser } from './browser.mjs';
import { join, playing, text } from './page.mjs';

const [base, room, joins, watches] = process.argv.slice(2);
await withBrowser(async open => {
  const nobody = await open(`${base}/`);
  const list = await text(nobody, '#problem-title');
  const status = await nobody.evaluate(async () => (await fetch('/api/v1/rooms')).status);
  const uninvited = await open(`${base}/?room=${room}`);
  const stranger = await text(uninvited, '#problem-title');

  const anna = await open(joins);
  const [secure, devices] = await anna.evaluate(() => [isSecureContext, !!navigator.mediaDevices]);
  await join(anna, 'Anna');
  const ben = await open(watches);
  await ben.click('#tap-sound');
  const figures = await playing(ben, 'Anna', { frames: 60, sound: true });
  return { list, status, stranger, secure, devices, figures, addresses: [anna.url(), ben.url()] };
}, { ignoreHTTPSErrors: true });
