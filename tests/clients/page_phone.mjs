// On phones nothing scrolls sideways and everything can be touched. argv: base, folder for pictures or nothing
import { withBrowser } from './browser.mjs';
import { enter, join, playing } from './page.mjs';

const [base, folder] = process.argv.slice(2);
await withBrowser(async open => {
  const seen = [];
  const look = async (page, where) => {
    if (folder) await page.screenshot({ path: `${folder}/${where}.png` });
    seen.push({ where, ...await page.evaluate(() => {
      const buttons = [...document.querySelectorAll('button, a, input, select, textarea')].filter(one => one.checkVisibility() && !one.closest('.tile') && !one.matches('.skip'));
      const box = one => one.getBoundingClientRect();
      return {
        sideways: document.documentElement.scrollWidth - innerWidth,
        cut: buttons.filter(one => box(one).right > innerWidth + 1 || box(one).left < -1).map(one => one.id),
        small: buttons.filter(one => box(one).height < 43.5 || box(one).width < 43.5).map(one => `${one.id || one.className} ${box(one).width}×${box(one).height}`),
        // so much of what was said can be read
        log: document.querySelector('#chat-log')?.clientHeight ?? 0,
        controlsBelow: (document.querySelector('#controls')?.getBoundingClientRect().bottom ?? 0) - innerHeight,
      };
    }) });
  };
  for (const [width, height] of [[390, 844], [320, 568], [740, 360]]) {
    const phone = { viewport: { width, height }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: 'dark' };
    const page = await open(`${base}/`, phone);
    await page.waitForSelector('[data-room="main"]');
    await look(page, `list-${width}`);
    await page.context().close();
    const visitor = await enter(open, base, 'main', { tiles: ['test'], ...phone });
    await look(visitor, `watch-${width}`);
    await join(visitor, 'Anna');
    await visitor.click('#show-figures');
    await playing(visitor, 'Anna', { frames: 30 });
    await look(visitor, `live-${width}`);
    await visitor.click('#chat-open');
    for (const words of ['Hello.', 'A word that does not fit: ' + 'x'.repeat(90), JSON.stringify({ isAudioEnabled: true })]) {
      await visitor.fill('#chat-text', words);
      await visitor.click('#chat-send');
    }
    await visitor.waitForSelector('.said.own:nth-child(3):not(.waiting)');
    await look(visitor, `chat-${width}`);
    await visitor.context().close();
  }
  return { seen };
});
