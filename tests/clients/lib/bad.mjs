// A bad line: a relay of datagrams between one browser and the gateway, which loses, delays and holds up in both directions.
import { createSocket } from 'node:dgram';

const bound = socket => new Promise((done, failed) => {
  socket.once('error', failed);
  socket.bind(0, '127.0.0.1', () => done(socket.address().port));
});

/** What the queue before a bottleneck holds, in milliseconds. */
const QUEUE = 300;
/** Bytes of IPv4 and UDP headers. */
const OVERHEAD = 28;

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
const dice = seed => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
};

/** Gives `{ port, set(way), count(), close() }`: the browser sends to `port` what is meant for the gateway at `to`. A way is
 *  `{ loss: part, delay: ms, jitter: ms, rate: bit/s }`, the same there and back, but for the rate, which is that towards the browser; what
 *  varies in time overtakes. Without `set` everything passes at once. */
export async function badLine(to, seed = 1) {
  const [outer, inner] = [createSocket('udp4'), createSocket('udp4')];
  const chance = dice(seed);
  const counts = { passed: 0, lost: 0, dropped: 0 };
  let browser, freeAt = 0, open = true;
  let way = { loss: 0, delay: 0, jitter: 0, rate: Infinity };
  const carry = (datagram, rate, pass) => {
    const now = performance.now();
    let leaves = now;
    if (rate !== Infinity) {
      freeAt = Math.max(freeAt, now);
      if (freeAt - now > QUEUE) {
        counts.dropped += 1;
        return;
      }
      freeAt += (datagram.length + OVERHEAD) * 8000 / rate;
      leaves = freeAt;
    }
    if (chance() < way.loss) {
      counts.lost += 1;
      return;
    }
    counts.passed += 1;
    const wait = leaves - now + way.delay + way.jitter * (2 * chance() - 1);
    if (wait > 0) setTimeout(it => open && pass(it), wait, datagram);
    else pass(datagram);
  };
  outer.on('message', (datagram, from) => {
    browser = from;
    carry(datagram, Infinity, it => inner.send(it, to, '127.0.0.1'));
  });
  inner.on('message', datagram => browser && carry(datagram, way.rate, it => outer.send(it, browser.port, browser.address)));
  const [port] = await Promise.all([bound(outer), bound(inner)]);
  const close = () => {
    open = false;
    [outer, inner].forEach(socket => socket.close());
  };
  return { port, set: change => { way = { ...way, ...change }; }, count: () => counts, close };
}
