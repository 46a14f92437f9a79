// The built-in page, driven as a visitor would: shared steps of the `page_*.mjs` scenarios.

/** Patience for anything that a healthy machine does within seconds, in ms. */
export const LIMIT = 60_000;

/** Enters a room by the list, as far as a live tile of each of these names; none means only to enter. */
export async function enter(open, base, room, { tiles = [], ...options } = {}) {
  const page = await open(`${base}/`, options);
  await page.waitForSelector(`[data-room="${room}"]`, { timeout: LIMIT });
  await page.click(`[data-room="${room}"]`);
  for (const name of tiles) await playing(page, name);
  return page;
}

/** Joins with the fake camera and microphone under a name. */
export async function join(page, name) {
  await page.fill('#name', name);
  await page.click('#join-button');
  await page.waitForSelector('.tile.own', { timeout: LIMIT });
}

/** The figures of the tile of that name. */
export const figures = (page, name) => page.evaluate(wanted => portico.figures().find(row => row.name === wanted) ?? null, name);

/** Waits until the tile of that name decoded (or, if it is the own, encoded) so many frames. */
export async function playing(page, name, { frames = 30, sound = false } = {}) {
  const enough = ([wanted, least, heard]) => portico.figures().some(row => row.name === wanted && row.connected && row.frames >= least && (!heard || row.audioEnergy > 0));
  await page.waitForFunction(enough, [name, frames, sound], { timeout: LIMIT, polling: 200 }).catch(async error => {
    throw new Error(`${name} does not play: ${JSON.stringify(await page.evaluate(() => portico.figures()))} ${error.message}`);
  });
  return figures(page, name);
}

/** Waits until the tile of that name is there, or is gone. */
export const tile = (page, name, there = true) =>
  page.waitForSelector(`.tile[data-name="${name}"]`, { state: there ? 'visible' : 'detached', timeout: LIMIT });

/** The picture's size as the element has it. */
export const size = (page, name) => page.$eval(`.tile[data-name="${name}"] video`, video => [video.videoWidth, video.videoHeight]);

/** Text of the first visible element. */
export async function text(page, selector) {
  await page.waitForSelector(selector, { state: 'visible', timeout: LIMIT });
  return (await page.textContent(selector)).trim();
}
