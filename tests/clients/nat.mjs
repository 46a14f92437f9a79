// node nat.mjs BASE ROOM STREAM: a browser elsewhere plays the room's stream and publishes one, with the servers that the gateway tells of.
import { withBrowser } from './browser.mjs';
import { iceServers } from './lib/ice.mjs';

const [base, room, stream] = process.argv.slice(2);

await withBrowser(async open => {
  const ice = { iceServers: await iceServers(`${base}/whip/${room}`) };
  const page = await open(`${base}/healthz`);
  await page.evaluate(([room, stream, ice]) => t.play('v', `/whep/${room}/${stream}`, { ice }), [room, stream, ice]);
  const played = await page.evaluate(() => t.watch('v', { frames: 30, limit: 30000 }));
  const by = name => Promise.all([t.localCandidate(name), t.remoteAddress(name)]);
  const ways = { play: await page.evaluate(by, 'v').catch(() => null) };
  if (!ways.play) return { played, ways };
  await page.evaluate(([room, ice]) => t.publish('p', `/whip/${room}`, { codec: 'H264', ice }), [room, ice]);
  const sent = await page.evaluate(() => t.sent('p'));
  ways.publish = await page.evaluate(by, 'p');
  return { played, sent, ways, servers: ice.iceServers.map(server => server.urls) };
}, { flags: [`--unsafely-treat-insecure-origin-as-secure=${base}`] });
