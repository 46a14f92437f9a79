// node algorea_branch.mjs URL FILE: the page script of AlgoreaForum's branch `rtc` itself. FILE is its public/rtc.js, which is not kept here; its
// users edit the address at its head, and so does this. Three pages meet at URL and exchange text both ways.
import { readFileSync } from 'node:fs';
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { until } from './lib/until.mjs';

const [url, file] = words;
const script = readFileSync(file, 'utf8')
  .replace(/^(\s*const source = new WebSocket\()'[^']*'/m, (_, head) => `${head}${JSON.stringify(url)}`)
  .replace(/^const iceServers = \[[\s\S]*?^\];/m, 'const iceServers = [];');
if (!script.includes(url)) throw new Error(`${file} has no address where it is expected`);

await withBrowser(async open => {
  const enter = async () => {
    // Chromium lets no page from nowhere reach loopback
    const page = await open(new URL('/healthz', url.replace(/^ws/, 'http')).href);
    // what the script expects of its page; `rootUl` it never declares
    await page.setContent('<ul id="rootUl"></ul><input disabled><button id="send" disabled>send</button>');
    await page.addScriptTag({ content: script });
    return page;
  };
  const channels = page => page.evaluate(() => window.local.manager.getActiveChannels().size);
  const lines = page => page.evaluate(() => [...document.querySelectorAll('li')].map(line => line.textContent));
  const pages = [];
  for (const count of [1, 2, 3]) {
    pages.push(await enter());
    for (const page of pages) await until(`${count} pages linked`, async () => await channels(page) === count - 1 && (count === 1 || !await page.isDisabled('#send')));
  }
  for (const [index, page] of pages.entries()) {
    await page.fill('input', `number ${index}`);
    await page.click('#send');
  }
  const heard = [];
  for (const [index, page] of pages.entries()) {
    const others = [0, 1, 2].filter(other => other !== index).map(other => `number ${other}`);
    await until('the texts of the others', async () => {
      const told = await lines(page);
      return others.every(text => told.some(line => line.endsWith(` ${text}`) && !line.startsWith('[Me]')));
    });
    heard.push((await lines(page)).length);
  }
  return { heard };
});
