// A narrow line: a relay of datagrams between one browser and the gateway, with a bottleneck towards the browser.
import { createSocket } from 'node:dgram';

const bound = socket => new Promise((done, failed) => {
  socket.once('error', failed);
  socket.bind(0, '127.0.0.1', () => done(socket.address().port));
});

/** What the queue before the bottleneck holds, in milliseconds. */
const QUEUE = 300;
/** Bytes of IPv4 and UDP headers. */
const OVERHEAD = 28;

/** Gives `{ port, carry(bps), dropped(), close() }`: the browser sends to `port` what is meant for the gateway at `to`; what comes back
 *  passes at so many bits a second, and what finds the queue full is dropped. Without `carry` everything passes at once. */
export async function narrowLine(to) {
  const [outer, inner] = [createSocket('udp4'), createSocket('udp4')];
  let browser, rate = Infinity, freeAt = 0, dropped = 0;
  const pass = datagram => outer.send(datagram, browser.port, browser.address);
  outer.on('message', (datagram, from) => {
    browser = from;
    inner.send(datagram, to, '127.0.0.1');
  });
  inner.on('message', datagram => {
    if (!browser) return;
    if (rate === Infinity) {
      pass(datagram);
      return;
    }
    const now = performance.now();
    freeAt = Math.max(freeAt, now);
    if (freeAt - now > QUEUE) {
      dropped += 1;
      return;
    }
    freeAt += (datagram.length + OVERHEAD) * 8000 / rate;
    setTimeout(pass, freeAt - now, datagram);
  });
  const [port] = await Promise.all([bound(outer), bound(inner)]);
  return { port, carry: bps => { rate = bps; }, dropped: () => dropped, close: () => [outer, inner].forEach(socket => socket.close()) };
}
