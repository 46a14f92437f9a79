// A line that loses media: a relay of datagrams between one browser and the gateway.
import { createSocket } from 'node:dgram';

const bound = socket => new Promise((done, failed) => {
  socket.once('error', failed);
  socket.bind(0, '127.0.0.1', () => done(socket.address().port));
});

/** Gives `{ port, lose(share), close() }`: the browser sends to `port` what is meant for the gateway at `to`, and of its media that
 *  share is lost, evenly. Connectivity checks and handshakes are not touched, nor is what the gateway sends. */
export async function lossyLine(to) {
  const [outer, inner] = [createSocket('udp4'), createSocket('udp4')];
  let browser, share = 0, debt = 0, lost = 0;
  // RTP, not RTCP, on the same port (RFC 7983, RFC 5761)
  const isMedia = datagram => datagram[0] >= 128 && datagram[0] < 192 && !(datagram[1] >= 192 && datagram[1] < 224);
  outer.on('message', (datagram, from) => {
    browser = from;
    if (isMedia(datagram)) {
      debt += share;
      if (debt >= 1) {
        debt -= 1;
        lost += 1;
        return;
      }
    }
    inner.send(datagram, to, '127.0.0.1');
  });
  inner.on('message', datagram => browser && outer.send(datagram, browser.port, browser.address));
  const [port] = await Promise.all([bound(outer), bound(inner)]);
  return { port, lose: part => { share = part; }, lost: () => lost, close: () => [outer, inner].forEach(socket => socket.close()) };
}
