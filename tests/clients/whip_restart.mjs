// node whip_restart.mjs BASE ROOM: a publisher and a viewer restart ICE by PATCH (RFC 9725 section 4.3.3), and the picture goes on.
import { withBrowser } from './browser.mjs';

const [base, room] = process.argv.slice(2);
await withBrowser(async open => {
  const sender = await open(`${base}/healthz`);
  const viewer = await open(`${base}/healthz`);
  await sender.evaluate(room => t.publish('p', `/whip/${room}`), room);
  await sender.evaluate(() => t.sent('p'));
  await viewer.evaluate(room => t.play('v', `/whep/${room}`), room);
  const before = await viewer.evaluate(() => t.watch('v', { frames: 30 }));
  const published = await sender.evaluate(() => t.restart('p'));
  const between = await viewer.evaluate(() => t.watch('v', { frames: 60 }));
  const played = await viewer.evaluate(() => t.restart('v'));
  const after = await viewer.evaluate(() => t.watch('v', { frames: 60 }));
  return { published, played, frames: [before, between, after].map(figures => figures.framesDecoded), after };
});
