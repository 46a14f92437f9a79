// A room with a bridge that brings a stream and one that sends it on: the stream plays, the other is named, neither is a person. argv: base room
import { withBrowser } from './browser.mjs';
import { LIMIT, enter, playing, text } from './page.mjs';

const [base, room] = process.argv.slice(2);
await withBrowser(async open => {
  const page = await enter(open, base, room, { tiles: ['in'] });
  const figures = await playing(page, 'in', { frames: 30 });
  await page.waitForFunction(() => document.querySelector('#watchers').textContent.includes('out'), null, { timeout: LIMIT });
  return { figures, watchers: await text(page, '#watchers'), people: await text(page, '#people-count') };
});
