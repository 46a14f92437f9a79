// Two visitors and a PeerJS client talk in one room. argv: base, room (also the key of a PeerJS mount), folder for pictures or nothing
import { withBrowser } from './browser.mjs';
import { connect as peerjs } from './lib/peerjs.mjs';
import { LIMIT, enter, text } from './page.mjs';

const [base, room, folder] = process.argv.slice(2);
const ODD = '<img src=x onerror="document.title=1">\n  & more';

/** What the chat shows: who, and what. A message without a head is of the one before. */
const shown = page => page.$$eval('#chat-log > li', all => {
  let who;
  return all.map(row => {
    who = row.querySelector('.said-name')?.textContent ?? who;
    return [who, row.querySelector('.said-text').textContent];
  });
});
const heard = (page, words) =>
  page.waitForFunction(words => [...document.querySelectorAll('.said-text')].some(one => one.textContent === words), words, { timeout: LIMIT });
const write = async (page, words) => {
  await page.fill('#chat-text', words);
  await page.press('#chat-text', 'Enter');
};
/** The chat is opened, and written in, by keys alone. */
async function openChat(page, name) {
  await page.fill('#name', name);
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('c');
  await page.waitForSelector('#chat', { state: 'visible' });
  const written = await page.inputValue('#chat-text');
  if (written) throw new Error(`the key that opens the chat is written in it: ${written}`);
  return page.evaluate(() => document.activeElement.id);
}

await withBrowser(async open => {
  const anna = await enter(open, base, room, { viewport: { width: 1280, height: 800 } });
  const ben = await enter(open, base, room);
  const carl = await peerjs(open, { url: base, path: '/peerjs', key: room, id: 'carl' });
  await carl.dial(room, { serialization: 'raw', label: 'chat' });

  const focus = await openChat(anna, 'Anna');
  await write(anna, 'hello all');
  await anna.waitForSelector('.said.own:not(.waiting)', { timeout: LIMIT });
  // Ben's is closed: he is told, and finds it when he opens it
  await ben.waitForSelector('#chat-unread', { state: 'visible', timeout: LIMIT });
  const notice = await text(ben, '.toast:last-child');
  const label = await ben.getAttribute('#chat-open', 'aria-label');
  await openChat(ben, 'Ben');
  await heard(ben, 'hello all');
  const unread = await ben.isVisible('#chat-unread');
  await carl.sendText('hello from carl');
  for (const page of [anna, ben]) await heard(page, 'hello from carl');
  await write(ben, ODD);
  await heard(anna, ODD);
  await carl.sendText(JSON.stringify({ isVideoEnabled: false }));
  await anna.waitForSelector('.said.data', { timeout: LIMIT });
  for (let n = 0; n < 230; n += 1) {
    await carl.sendText(`line ${n}`);
    if (n % 20 === 19) await new Promise(done => setTimeout(done, 50));
  }
  await heard(anna, 'line 229');
  const kept = await shown(anna);
  const atEnd = await anna.$eval('#chat-log', list => list.scrollHeight - list.scrollTop - list.clientHeight < 60);
  await write(anna, 'bye');
  await heard(ben, 'bye');
  for (let n = 0; n < 100 && !(await carl.texts()).some(entry => entry.text === 'bye'); n += 1) await new Promise(done => setTimeout(done, 100));
  const atCarl = (await carl.texts()).map(entry => entry.text);
  await anna.press('#chat-text', 'Escape');
  const closed = await anna.isHidden('#chat');
  return {
    focus, notice, label, unread, atCarl, closed, atEnd, title: await ben.title(), images: await anna.$$eval('#chat-log img', all => all.length),
    kept: kept.length, first: kept[0], last: kept.at(-1), ben: (await shown(ben)).at(-1), fieldEmpty: await anna.inputValue('#chat-text'),
  };
});
