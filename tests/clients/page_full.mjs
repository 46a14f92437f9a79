// A room that holds one. argv: base
import { withBrowser } from './browser.mjs';
import { LIMIT, enter, text } from './page.mjs';

const [base] = process.argv.slice(2);
await withBrowser(async open => {
  const first = await enter(open, base, 'small');
  await first.waitForSelector('#stage-empty', { state: 'visible', timeout: LIMIT });
  const second = await enter(open, base, 'small');
  const full = await text(second, '#problem-title');
  await first.click('#leave');
  await first.waitForSelector('#list', { state: 'visible' });
  await second.click('#problem-retry');
  await second.waitForSelector('#stage-empty', { state: 'visible', timeout: LIMIT });
  return { full, gone: await second.isHidden('#problem') };
});
