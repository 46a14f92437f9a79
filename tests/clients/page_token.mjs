// A gateway that lets nobody in without a token. argv: base, token for everything, token that only watches
import { withBrowser } from './browser.mjs';
import { LIMIT, join, playing, text } from './page.mjs';

const [base, token, watching] = process.argv.slice(2);
await withBrowser(async open => {
  const page = await open(`${base}/`);
  const list = await text(page, '#problem-title');
  await page.fill('#token', token);
  await page.click('#problem-token button');
  await page.waitForSelector('[data-room="main"]', { timeout: LIMIT });

  const stranger = await open(`${base}/#room=main`);
  const room = await text(stranger, '#problem-title');
  await stranger.fill('#token', 'wrong');
  await stranger.click('#problem-token button');
  await stranger.waitForFunction(() => /wrong/.test(document.querySelector('#problem-detail').textContent), null, { timeout: LIMIT });
  await stranger.fill('#token', token);
  await stranger.click('#problem-token button');
  await playing(stranger, 'test');
  await join(stranger, 'Anna');
  await stranger.reload();
  await playing(stranger, 'test'); // the tab kept it

  const linked = await open(`${base}/?room=main&token=${watching}`);
  await playing(linked, 'test');
  await linked.click('#join-button');
  const refused = await text(linked, '.toast:last-child');
  await linked.waitForSelector('.tile.own', { state: 'detached' });
  return { list, room, refused, address: linked.url(), addresses: [page.url(), stranger.url()] };
});
