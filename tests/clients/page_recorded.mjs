// A page sees that its room is being recorded, and that it is not any more. argv: base, room
import { withBrowser } from './browser.mjs';
import { LIMIT, enter, text } from './page.mjs';

const [base, room] = process.argv.slice(2);
await withBrowser(async open => {
  const page = await enter(open, base, room);
  await page.waitForSelector('#recorded', { state: 'visible', timeout: LIMIT });
  const shown = await text(page, '#recorded');
  const stopped = await page.evaluate(async room => {
    const { running } = await (await fetch(`/api/v1/rooms/${room}/recordings`)).json();
    const answers = await Promise.all(running.map(it => fetch(`/api/v1/rooms/${room}/recordings/${it.id}`, { method: 'DELETE' })));
    return answers.map(answer => answer.status);
  }, room);
  await page.waitForSelector('#recorded', { state: 'hidden', timeout: LIMIT });
  return { shown, stopped };
});
