// node narrow.mjs BASE ROOM [camera]: one Chromium publishes its fake camera in three sizes, or the room has a camera of the gateway's; one plays
// it over a wide line, another over one of 500 kbit/s, which becomes wide later. Gives the width of the pictures they have, as soon as they differ
// and then are the same, or after a minute and a half each; of a camera also what was encoded then.
import { readFileSync } from 'node:fs';
import { withBrowser } from './browser.mjs';
import { narrowLine } from './lib/narrow.mjs';

const [base, room, camera] = process.argv.slice(2);
const encodings = [['q', 4], ['h', 2], ['f', 1]].map(([rid, scaleResolutionDownBy]) => ({ rid, scaleResolutionDownBy }));
const size = [960, 540];

/** Datagrams that came and found a socket of this machine full, as of one that had no processor: those are lost at no line. */
const overrun = () => {
  const [names, values] = readFileSync('/proc/net/snmp', 'utf8').split('\n').filter(line => line.startsWith('Udp:')).map(line => line.split(' '));
  return Number(values[names.indexOf('RcvbufErrors')]);
};

await withBrowser(async open => {
  const overrunBefore = overrun();
  const sender = await open(`${base}/healthz`);
  if (!camera) await sender.evaluate(([room, encodings, size]) => t.publish('p', `/whip/${room}`, { codec: 'VP8', encodings, size }), [room, encodings, size]);
  const [wide, narrow] = [await open(`${base}/healthz`), await open(`${base}/healthz`)];
  let line;
  await narrow.exposeFunction('lineTo', async port => {
    line = await narrowLine(port);
    line.carry(500_000);
    return line.port;
  });
  await wide.evaluate(room => t.play('v', `/whep/${room}`), room);
  await narrow.evaluate(room => t.play('v', `/whep/${room}`, { by: 'lineTo' }), room);
  const seen = async () => ({ wide: await wide.evaluate(() => t.picture('v')), narrow: await narrow.evaluate(() => t.picture('v')) });
  const until = async good => {
    for (let i = 0; ; i++) {
      const now = await seen();
      if (i === 180 || good(now)) return now;
      await narrow.evaluate(() => t.sleep(500));
    }
  };
  // how wide is the publisher's affair: Chromium makes all sizes smaller on a busy machine
  const apart = await until(({ wide, narrow }) => narrow.width > 0 && wide.width >= 2 * narrow.width);
  // both go on moving
  const moving = [await wide.evaluate(() => t.watch('v', { frames: 60 })), await narrow.evaluate(() => t.watch('v', { frames: 40 }))];
  const peers = await wide.evaluate(async () => (await fetch('/api/v1/peers')).json());
  const still = { ...await seen(), overrun: overrun() - overrunBefore };
  const encoded = async () => (await wide.evaluate(async () => (await fetch('/api/v1/sources')).json())).flatMap(source => source.layers ?? []);
  const layers = camera ? [await encoded()] : [];
  line.carry(Infinity);
  const together = await until(({ wide, narrow }) => narrow.width === wide.width && narrow.width > apart.narrow.width);
  for (let i = 0; camera && i < 180 && layers.at(-1).length > 1; i++) {
    await narrow.evaluate(() => t.sleep(500));
    layers[1] = await encoded();
  }
  const deleted = await (camera ? wide.evaluate(() => t.end('v')) : sender.evaluate(() => t.end('p')));
  line.close();
  return { apart, moving, still, estimates: peers.map(peer => peer.estimate_bps ?? null), together, layers, dropped: line.dropped(), deleted };
});
