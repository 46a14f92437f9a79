// node vamp_long.mjs URL [SECONDS] [VAMP]: two members in Node, socket.io-client 2; one sends a header and 33 binary frames of 500 bytes per second;
// each arrives once and in order. SECONDS: 600 by default.
import { words } from './lib/args.mjs';
import { connect } from './lib/vamp.mjs';
import { withNode } from './lib/node_client.mjs';
import { until } from './lib/until.mjs';

const RATE = 33, SIZE = 500;
const [url, seconds = '600', vamp = `v${Math.random().toString(36).slice(2)}`] = words;
await withNode(async () => {
  const [sender, receiver] = [await connect(null, { url, vamp, user: 'u0' }), await connect(null, { url, vamp, user: 'u1' })];
  for (const member of [sender, receiver]) await until('a link', () => member.peers().some(id => [sender.id(), receiver.id()].includes(id)));
  const header = JSON.stringify({ userId: 'u0', startTime: 1 });
  const frame = number => `f${String(number).padStart(SIZE - 1, '0')}`;
  const count = RATE * Number(seconds), began = Date.now();
  sender.sendText(header);
  for (let sent = 0; sent < count;) {
    // as many as are due, so that the rate holds however late a timer is
    for (; sent < count && sent * 1000 <= (Date.now() - began) * RATE; sent++) sender.sendText(new TextEncoder().encode(frame(sent)));
    await new Promise(done => setTimeout(done, 1000 / RATE));
  }
  await until('the last frame', () => receiver.wire().text + receiver.wire().binary >= count + 1);
  const { text, binary } = receiver.wire();
  if (text !== 1 || binary !== count) throw new Error(`${text} texts and ${binary} binary frames of ${count}`);
  for (const [at, { text: got }] of receiver.texts().entries()) {
    if (got !== (at === 0 ? header : frame(at - 1))) throw new Error(`frame ${at} is ${got.slice(-20)}`);
  }
  return { frames: count, seconds: (Date.now() - began) / 1000 };
});
