// node vamp_answer.mjs URL VAMP: a member's offer with a data channel only, and without a line about trickling, to an id whose connection ends at the
// server (`--first`: waits for the server's offer instead). One signal comes back, with all candidates in it, and the channel opens.
import wrtc from '@roamhq/wrtc';
import { createRequire } from 'node:module';
import { option, words } from './lib/args.mjs';
import { withNode } from './lib/node_client.mjs';
import { until } from './lib/until.mjs';

const require = createRequire(import.meta.url);
const io = require('socket.io-client-2');
const SimplePeer = require('simple-peer');
const [url, vamp] = words;
/** An address of the same machine answers in milliseconds; a busy one is given time. */
const GENEROUS = 5000;
const check = (what, holds, ...about) => { if (!holds) throw new Error(`${what}: ${JSON.stringify(about)}`); };

await withNode(async () => {
  const heard = [];
  const join = async () => {
    const socket = io(url, { forceNew: true });
    for (const name of ['all users', 'user joined', 'receiving returned signal']) socket.on(name, value => heard.push({ to: socket.id, name, value, at: Date.now() }));
    socket.emit('join vamp', vamp);
    await until('the list', () => heard.find(event => event.to === socket.id && event.name === 'all users'));
    return socket;
  };
  const complete = sdp => {
    const candidates = sdp.split('\r\n').filter(line => line.startsWith('a=candidate:'));
    check('candidates, and that there are no more', candidates.length > 0 && sdp.includes('\r\na=end-of-candidates\r\n'), sdp);
    check('no name that only mDNS knows', candidates.every(line => !line.includes('.local')), candidates);
    return candidates.length;
  };
  const first = await join();
  const second = await join();
  const [id] = heard.find(event => event.to === second.id && event.name === 'all users').value;
  const peer = new SimplePeer({ initiator: true, trickle: false, wrtc, config: { iceServers: [] } });
  const offer = await new Promise(done => peer.once('signal', done));
  check('no line about trickling', !offer.sdp.includes('trickle') && !offer.sdp.includes('m=audio') && offer.sdp.includes('m=application'), offer);
  const asked = Date.now();
  second.emit('sending signal', { userToSignal: id, callerID: second.id, signal: offer });
  const answer = await until('the answer', () => heard.find(event => event.to === second.id && event.name === 'receiving returned signal'));
  check('soon', answer.at - asked < GENEROUS, answer.at - asked);
  check('an answer of whom it was for', answer.value.id === id && answer.value.signal.type === 'answer', answer);
  const result = { answered: complete(answer.value.signal.sdp), milliseconds: answer.at - asked };
  peer.signal(answer.value.signal);
  await new Promise((done, failed) => { peer.once('connect', done); peer.once('error', failed); });
  if (option('sfu') !== undefined) {
    // who was there is called in the other's name
    const offered = await until('the offer', () => heard.find(event => event.to === first.id && event.name === 'user joined'));
    check('an offer in its name', offered.value.callerID === second.id && offered.value.signal.type === 'offer', offered);
    result.offered = complete(offered.value.signal.sdp);
  }
  await new Promise(done => setTimeout(done, 500));
  check('one signal each way', heard.filter(event => event.to === second.id).length === 2, heard.map(({ to, name }) => [to, name]));
  for (const socket of [first, second]) socket.close();
  await new Promise(done => setTimeout(done, 300));
  return result;
});
