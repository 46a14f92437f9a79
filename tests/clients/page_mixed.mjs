// The page in a mixed room: one picture, who is there by name, and the choice of layout. argv: base, room
import { withBrowser } from './browser.mjs';
import { LIMIT, enter, join, playing, size, text } from './page.mjs';

const [base, room] = process.argv.slice(2);
await withBrowser(async open => {
  const anna = await enter(open, base, room);
  const ben = await enter(open, base, room);
  await join(anna, 'Anna');
  await join(ben, 'Ben');
  const result = {};
  for (const [name, page] of [['anna', anna], ['ben', ben]]) result[name] = await playing(page, 'mix', { frames: 60, sound: true });
  const tiles = await anna.$$eval('.tile', all => all.map(tile => tile.dataset.name));
  await anna.selectOption('#mix-layout', 'pip');
  await anna.waitForFunction(async room => (await (await fetch(`/api/v1/rooms/${room}/mix`)).json()).layout === 'pip', room, { timeout: LIMIT });
  const carl = await enter(open, base, room);
  await carl.waitForFunction(() => document.querySelector('#mix-layout').value === 'pip', null, { timeout: LIMIT });
  return { ...result, tiles, size: await size(anna, 'mix'), people: await text(carl, '#people-count'), here: await text(carl, '#watchers') };
});
