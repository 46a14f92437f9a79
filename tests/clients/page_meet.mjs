// Two visitors and the source: both see and hear each other, mute, unmute, leave. argv: base
import { withBrowser } from './browser.mjs';
import { LIMIT, enter, join, playing, size, text, tile } from './page.mjs';

const [base] = process.argv.slice(2);
await withBrowser(async open => {
  const anna = await enter(open, base, 'main', { viewport: { width: 1280, height: 800 } });
  const ben = await enter(open, base, 'main');
  await join(anna, 'Anna');
  await join(ben, 'Ben');
  const result = { anna: {}, ben: {} };
  for (const [page, saw, others] of [[anna, result.anna, ['Ben', 'test']], [ben, result.ben, ['Anna', 'test']]]) {
    for (const name of others) saw[name] = await playing(page, name, { frames: 60, sound: true });
  }
  result.size = await size(ben, 'Anna');
  result.layers = await anna.evaluate(async () => {
    const peers = await (await fetch('/api/v1/peers')).json();
    return peers.map(peer => peer.layers.filter(layer => layer.kind === 'video').map(layer => layer.rid)).filter(rids => rids.length);
  });
  result.mirrored = await anna.$eval('.tile.own video', video => getComputedStyle(video).scale);
  result.people = await text(anna, '#people-count');

  // what Ben sees of Anna's muting
  const annaAtBen = '.tile[data-name="Anna"]';
  await anna.click('#mic');
  await ben.waitForSelector(`${annaAtBen} .mark`, { state: 'visible', timeout: LIMIT });
  await anna.click('#mic');
  await ben.waitForSelector(`${annaAtBen} .mark`, { state: 'hidden', timeout: LIMIT });
  await anna.click('#camera');
  await ben.waitForSelector(`${annaAtBen}.no-picture .avatar`, { state: 'visible', timeout: LIMIT });
  result.lamp = await anna.evaluate(() => document.querySelector('.tile.own video').srcObject.getVideoTracks().length);
  await anna.click('#camera');
  await ben.waitForSelector(`${annaAtBen}:not(.no-picture)`, { timeout: LIMIT });
  const before = (await playing(ben, 'Anna')).frames;
  await playing(ben, 'Anna', { frames: before + 30 });

  // another camera and microphone while live
  await anna.click('#choose-devices');
  await anna.waitForSelector('#devices[open]');
  const devices = await anna.$$eval('#device-microphone option', all => all.map(option => option.value));
  await anna.selectOption('#device-microphone', devices.at(-1));
  await anna.click('#devices .primary');
  await anna.waitForFunction(id => document.querySelector('.tile.own video').srcObject.getAudioTracks()[0]?.getSettings().deviceId === id, devices.at(-1), { timeout: LIMIT });
  const heard = (await playing(ben, 'Anna')).audioEnergy;
  await ben.waitForFunction(energy => portico.figures().find(row => row.name === 'Anna').audioEnergy > energy, heard, { timeout: LIMIT });

  await ben.click('#leave');
  await tile(anna, 'Ben', false);
  result.told = await text(anna, '.toast:last-child');
  result.backAtList = await ben.isVisible('#list');
  await ben.waitForFunction(() => document.querySelector('[data-room="main"] .card-picture img')?.naturalWidth, null, { timeout: LIMIT });
  result.preview = await ben.$eval('[data-room="main"] .card-picture img', image => [image.naturalWidth, image.naturalHeight]);
  await playing(anna, 'test');
  return result;
});
