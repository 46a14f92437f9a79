// node suite_star.mjs BASE: what a webrtc-star signalling server must do, event by event, with the published socket.io-client 2, 3 and 4
// on both of its paths. BASE is http://host:port.
import io2 from 'socket.io-client-2';
import { io as io3 } from 'socket.io-client-3';
import { io as io4 } from 'socket.io-client-4';
import { words } from './lib/args.mjs';
import { holds, never, same, suite, unique } from './lib/suite.mjs';
import { until } from './lib/until.mjs';

const [base] = words;
const CLIENTS = { 2: io2, 3: io3, 4: io4 };
const address = () => `/ip4/127.0.0.1/tcp/9090/ws/p2p-webrtc-star/p2p/${unique('Qm')}`;

/** A connection that notes which peers it is told of and which signals it gets. */
async function open({ version = 4, path = '/socket.io-next/', transports = ['websocket'] } = {}) {
  const socket = CLIENTS[version](base, { path, transports, forceNew: true, reconnection: false });
  const client = { socket, told: [], signals: [], errors: [], count: wanted => client.told.filter(one => one === wanted).length };
  socket.on('ws-peer', peer => client.told.push(peer));
  socket.on('ws-handshake', signal => client.signals.push(signal));
  socket.on('connect_error', error => client.errors.push(String(error)));
  await until(`a connection (version ${version}, ${path}, ${transports})`, () => socket.connected || client.errors.length > 0, 20000);
  holds(socket.connected, `version ${version}, ${path}, ${transports}: ${client.errors}`);
  client.join = (own = address()) => { client.own = own; socket.emit('ss-join', own); return client; };
  client.signal = async what => { await until(what, () => client.signals.length > 0, 20000); return client.signals.shift(); };
  return client;
}
const close = (...clients) => clients.forEach(client => client.socket.close());
/** Two that have joined; the first has heard of the second. */
async function pair(first, second) {
  const a = (await open(first)).join();
  // asked and answered on one connection: the first is joined before the second
  a.socket.emit('ss-handshake', { srcMultiaddr: a.own, dstMultiaddr: `${a.own}/nobody`, intentId: 'ready', signal: { type: 'offer', sdp: '' } });
  await a.signal('the answer that shows the join');
  const b = (await open(second)).join();
  await until('the first hears of the second', () => a.count(b.own) > 0);
  return [a, b];
}
const call = (src, dst, more = {}) => ({ srcMultiaddr: src, dstMultiaddr: dst, intentId: unique('intent'), signal: { type: 'offer', sdp: 'v=0\r\n', extra: [1, null] }, ...more });

const checks = {
  'a join is told to those present, never to oneself': async () => {
    const [a, b] = await pair();
    same([a.count(a.own), b.count(b.own)], [0, 0]);
    close(a, b);
  },
  'joins are repeated every ten seconds to those who are there': async () => {
    const [a, b] = await pair();
    await until('the second hears of the first', () => b.count(a.own) > 0, 30000);
    await until('twice more', () => a.count(b.own) >= 3, 40000);
    same([a.count(a.own), b.count(b.own)], [0, 0], 'own addresses');
    close(a, b);
  },
  'after a leave, or an end, nothing is repeated': async () => {
    const [a, b] = await pair();
    const c = (await open()).join();
    await until('the third', () => a.count(c.own) > 0);
    b.socket.emit('ss-leave', 'anything');
    close(c);
    await new Promise(done => setTimeout(done, 500));
    const before = [a.count(b.own), a.count(c.own)];
    await new Promise(done => setTimeout(done, 12000));
    same([a.count(b.own), a.count(c.own)], before);
    const probe = call(a.own, b.own);
    a.socket.emit('ss-handshake', probe);
    same(await a.signal('an error'), { ...probe, err: 'peer is not available' });
    close(a, b);
  },
  'one that left can join again': async () => {
    const [a, b] = await pair();
    b.socket.emit('ss-leave', b.own);
    b.join();
    await until('told again', () => a.count(b.own) >= 2);
    close(a, b);
  },
  'an offer arrives unchanged, its answer at the one that offered': async () => {
    const [a, b] = await pair();
    const offer = call(a.own, b.own, { unknown: { member: true } });
    a.socket.emit('ss-handshake', offer);
    same(await b.signal('the offer'), offer);
    const answer = { ...offer, answer: true, signal: { type: 'answer', sdp: 'v=0' } };
    b.socket.emit('ss-handshake', answer);
    same(await a.signal('the answer'), answer);
    close(a, b);
  },
  'signals keep their order': async () => {
    const [a, b] = await pair();
    for (let n = 0; n < 100; n++) a.socket.emit('ss-handshake', call(a.own, b.own, { signal: { type: 'candidate', n } }));
    for (let n = 0; n < 100; n++) same((await b.signal(`candidate ${n}`)).signal.n, n);
    close(a, b);
  },
  'a call to nobody comes back with err and all it had': async () => {
    const a = (await open()).join();
    const offer = call(a.own, address(), { unknown: 1 });
    a.socket.emit('ss-handshake', offer);
    same(await a.signal('the error'), { ...offer, err: 'peer is not available' });
    close(a);
  },
  'what is no handshake disturbs nobody': async () => {
    const [a, b] = await pair();
    for (const junk of [null, 1, 'text', [1, 2, 3], {}, { srcMultiaddr: a.own }, { dstMultiaddr: b.own }]) a.socket.emit('ss-handshake', junk);
    for (const event of ['ss-join', 'ss-leave', 'ss-handshake']) b.socket.emit(event);
    await never('a signal of junk', () => a.signals[0] ?? b.signals[0]);
    const stranger = await open();
    stranger.socket.emit('ss-join', null);
    const offer = call(b.own, a.own);
    b.join(b.own);
    b.socket.emit('ss-handshake', offer);
    same(await a.signal('an offer'), offer);
    close(a, b, stranger);
  },
  'a new connection takes an address over': async () => {
    const [a, old] = await pair();
    const before = a.count(old.own);
    const fresh = (await open()).join(old.own);
    await until('told again', () => a.count(old.own) > before);
    const offer = call(a.own, fresh.own);
    a.socket.emit('ss-handshake', offer);
    same(await fresh.signal('an offer'), offer);
    same(old.signals, [], 'the old connection');
    close(a, old, fresh);
  },
  'GET / is there for pages of any origin; other paths are 404 in JSON': async () => {
    const Origin = `http://${unique()}.example`;
    const root = await fetch(`${base}/`, { headers: { Origin } });
    same([root.status, root.headers.get('access-control-allow-origin')], [200, Origin]);
    const head = await fetch(`${base}/`, { method: 'HEAD' });
    same(head.status, 200, 'HEAD');
    const missing = await fetch(`${base}/${unique()}`);
    same(missing.status, 404);
    same((await missing.json()).statusCode, 404);
  },
  'the metrics count peers, joins and dials': async () => {
    const text = await (await fetch(`${base}/metrics`)).text();
    for (const name of ['peers', 'joins_total', 'joins_total_success', 'joins_total_failure', 'dials_total', 'dials_total_success', 'dials_total_failure']) {
      holds(new RegExp(`^webrtc_star_${name} \\d+`, 'm').test(text), `no webrtc_star_${name}`);
    }
  },
};
for (const version of [2, 3, 4]) {
  for (const path of ['/socket.io/', '/socket.io-next/']) {
    for (const transports of [['websocket'], ['polling', 'websocket'], ['polling']]) {
      checks[`socket.io-client ${version} on ${path} by ${transports.join(' and ')} meets another`] = async () => {
        const [a, b] = await pair({ version, path, transports });
        const offer = call(a.own, b.own);
        a.socket.emit('ss-handshake', offer);
        same(await b.signal('the offer'), offer);
        b.socket.emit('ss-handshake', { ...offer, answer: true });
        same(await a.signal('the answer'), { ...offer, answer: true });
        if (transports.length === 2) await until('the upgrade', () => a.socket.io.engine.transport.name === 'websocket');
        close(a, b);
      };
    }
  }
}
await suite(checks, { atOnce: 12 });
