// No camera for whatever reason: the page says which, and watching goes on. argv: base
import { withBrowser } from './browser.mjs';
import { enter, playing, text } from './page.mjs';

const [base] = process.argv.slice(2);
await withBrowser(async open => {
  const page = await enter(open, base, 'main', { tiles: ['test'] });
  await page.click('#join-button');
  const denied = await text(page, '#note');
  const failing = async break_ => {
    await page.click('#note button');
    await page.evaluate(break_);
    await page.click('#join-button');
    return text(page, '#note');
  };
  const none = await failing(() => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('x', 'NotFoundError'); }; });
  const taken = await failing(() => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('x', 'NotReadableError'); }; });
  const insecure = await failing(() => Object.defineProperty(navigator, 'mediaDevices', { value: undefined, configurable: true }));
  const before = (await playing(page, 'test')).frames;
  await playing(page, 'test', { frames: before + 30 });
  return { denied, none, taken, insecure, own: await page.$$eval('.tile.own', all => all.length) };
}, { flags: ['--use-fake-ui-for-media-stream=deny'] });
