// node suite_engineio.mjs ROOT [3|4|both]: what the Socket.IO endpoint under vamp must do, packet by packet, in Engine.IO 3 (clients 2.x), 4 (clients
// 3 and 4) or both. ROOT is the address with its path, such as http://127.0.0.1:8780/socket.io/.
import { io as io4 } from 'socket.io-client-4';
import io2 from 'socket.io-client-2';
import { words } from './lib/args.mjs';
import { at, polling, unpack, websocket } from './lib/engine.mjs';
import { holds, never, same, suite, unique } from './lib/suite.mjs';
import { until } from './lib/until.mjs';

const [root, which = 'both'] = words;
const protocols = which === 'both' ? [3, 4] : [Number(which)];
const offerTo = (id, n) => ({ userToSignal: id, callerID: 'any', signal: { type: 'offer', sdp: 'v=0', n } });
const checks = {};

for (const protocol of protocols) {
  const check = (name, run) => { checks[`protocol ${protocol}: ${name}`] = run; };
  const refused = async (query, code, init) => {
    const response = await fetch(at(root, { EIO: protocol, ...query }), init);
    const body = await response.text();
    same([response.status, JSON.parse(body).code], [400, code], `${JSON.stringify(query)}: ${body}`);
  };
  /** A session in a vamp, by websocket. */
  const member = async vamp => {
    const link = await (await websocket(root, protocol)).enter();
    link.emit('join vamp', vamp);
    link.others = await link.event('all users');
    return link;
  };

  check('the handshake by polling', async () => {
    const session = await polling(root, protocol);
    const { sid, upgrades, pingInterval, pingTimeout } = session.opened;
    holds(typeof sid === 'string' && sid.length >= 20, `a sid of ${sid}`);
    same([upgrades, pingInterval, pingTimeout], [['websocket'], 25000, 20000]);
    holds(session.type.toLowerCase() === 'text/plain; charset=utf-8', session.type);
    await session.enter();
  });
  check('the handshake by websocket', async () => {
    const link = await websocket(root, protocol);
    same([link.opened.upgrades, link.opened.pingInterval, link.opened.pingTimeout], [[], 25000, 20000]);
    if (protocol === 4) await never('a connect nobody asked for', () => link.heard[0], 500);
    await link.enter();
    if (protocol === 3) same(link.connected, '40');
    else holds(JSON.parse(link.connected.slice(2)).sid !== link.opened.sid, 'the same id twice');
    link.socket.close();
  });
  check('errors have their codes', async () => {
    await refused({}, 0);
    await refused({ transport: 'pigeon' }, 0);
    await refused({ transport: 'polling', sid: 'nobody' }, 1);
    await refused({ transport: 'polling' }, 2, { method: 'POST', body: '' });
    const link = await websocket(root, protocol);
    await refused({ transport: 'polling', sid: link.opened.sid }, 3);
    link.socket.close();
  });
  check('pages of any origin may poll, with credentials', async () => {
    const Origin = `http://${unique()}.example`;
    const { headers } = await fetch(at(root, { EIO: protocol, transport: 'polling' }), { headers: { Origin } });
    same([headers.get('access-control-allow-origin'), headers.get('access-control-allow-credentials')], [Origin, 'true']);
  });
  check('events by polling, several in one payload, characters of every plane', async () => {
    const vamp = unique('v');
    const a = await (await polling(root, protocol)).enter();
    const posted = await a.emit('join vamp', vamp);
    same([posted.status, await posted.text()], [200, 'ok']);
    same(await a.event('all users'), []);
    const b = await (await polling(root, protocol)).enter();
    await b.emit('join vamp', vamp);
    const [idA] = await b.event('all users');
    // two packets in one POST; the text is longer in bytes than in UTF-16 units, and those more than its characters
    await b.post(...[1, 2].map(n => `42${JSON.stringify(['sending signal', { ...offerTo(idA, n), signal: { type: 'offer', sdp: `😀é${n}` } }])}`));
    for (const n of [1, 2]) same((await a.event('user joined')).signal.sdp, `😀é${n}`);
  });
  check('a broken payload ends the session, and only that', async () => {
    const [session, other] = [await (await polling(root, protocol)).enter(), await (await polling(root, protocol)).enter()];
    await session.postRaw('abc').catch(() => {});
    await until('the end of the session', async () => (await session.get().catch(() => ({ status: 0 }))).status === 400);
    await other.emit('join vamp', unique('v'));
    same(await other.event('all users'), []);
  });
  check('two polls at once end the session', async () => {
    const session = await (await polling(root, protocol)).enter();
    const both = await Promise.all([session.get(), session.get()].map(one => one.then(response => response.status, () => 0)));
    holds(both.some(status => status !== 200), `answers ${both}`);
    await refused({ transport: 'polling', sid: session.sid }, 1);
  });
  check('the upgrade: probe, an end of the poll, then all on the websocket', async () => {
    const session = await (await polling(root, protocol)).enter();
    const pending = session.get();
    const link = await websocket(root, protocol, session.sid);
    await until('the websocket', () => link.socket.readyState === 1);
    link.say('2probe');
    same(await link.next(() => true), '3probe');
    same(unpack(protocol, await (await pending).text()), ['6']);
    link.say('5');
    link.emit('join vamp', unique('v'));
    same(await link.event('all users'), []);
    const second = await websocket(root, protocol, session.sid);
    await until('the end of a second websocket', () => second.closed || second.error);
    const late = await session.get();
    same(late.status, 400, 'a poll after the upgrade');
    link.socket.close();
  });
  check('an upgrade that is given up leaves the session on polling', async () => {
    const session = await (await polling(root, protocol)).enter();
    const link = await websocket(root, protocol, session.sid);
    await until('the websocket', () => link.socket.readyState === 1);
    link.say('2probe');
    await link.next(() => true);
    link.socket.close();
    await link.ended();
    await session.emit('join vamp', unique('v'));
    same(await session.event('all users'), []);
  });
  check('a websocket for an unknown session is refused', async () => {
    const link = await websocket(root, protocol, 'nobody');
    await until('the end', () => link.closed || link.error);
  });
  check('pings', async () => {
    const link = await (await websocket(root, protocol)).enter();
    if (protocol === 3) {
      link.say('2');
      same(await link.next(() => true), '3');
      await never('a ping of the server', () => link.heard.find(packet => packet === '2'), 30000);
    } else {
      same(await link.next(() => true), '2');
      link.say('3');
      await never('an end', () => link.closed, 22000);
    }
    link.socket.close();
  });
  check('a silent session is ended', async () => {
    const link = await (await websocket(root, protocol)).enter();
    const start = Date.now();
    await link.ended();
    holds(Date.now() - start > 35000, `ended after ${Date.now() - start} ms`);
  });
  check('a client that closes is gone', async () => {
    const session = await (await polling(root, protocol)).enter();
    const [poll] = await Promise.all([session.get(), session.post('1')]);
    if (poll.status === 200) same(unpack(protocol, await poll.text()), ['6']);
    await refused({ transport: 'polling', sid: session.sid }, 1);
    const link = await (await websocket(root, protocol)).enter();
    link.say('1');
    await link.ended();
  });
  check('an unknown namespace is refused', async () => {
    const link = await (await websocket(root, protocol)).enter();
    link.say('40/other');
    const refusal = await link.next(packet => packet.startsWith('44'));
    const forms = ['44/other,{"message":"Invalid namespace"}', ...protocol === 3 ? ['44/other,"Invalid namespace"'] : []];
    holds(forms.includes(refusal), refusal);
    link.socket.close();
  });
  check('more than a million bytes end that session only', async () => {
    const other = await (await websocket(root, protocol)).enter();
    const link = await (await websocket(root, protocol)).enter();
    link.say(`42["x","${'x'.repeat(1000001)}"]`);
    same((await link.ended()).code, 1009);
    const session = await (await polling(root, protocol)).enter();
    const status = await session.post(`42["x","${'x'.repeat(1000001)}"]`).then(response => response.status, () => 'cut');
    holds([413, 'cut'].includes(status), `a POST too long: ${status}`);
    other.emit('join vamp', unique('v'));
    same(await other.event('all users'), []);
    other.socket.close();
  });
  check('joining: lists without oneself, in order; the sender is who it is', async () => {
    const vamp = unique('v');
    const [a, b, c] = [await member(vamp), await member(vamp), await member(vamp)];
    same([a.others.length, b.others.length, c.others.length], [0, 1, 2]);
    same(c.others[0], b.others[0]);
    const [idA, idB] = c.others;
    c.emit('sending signal', { ...offerTo(idA, 1), callerID: idB });
    const offer = await a.event('user joined');
    same(offer.signal, { type: 'offer', sdp: 'v=0', n: 1 });
    holds(![idA, idB].includes(offer.callerID), 'a sender may not be another');
    a.emit('returning signal', { signal: { type: 'answer', sdp: 'v=1' }, callerID: offer.callerID });
    same(await c.event('receiving returned signal'), { signal: { type: 'answer', sdp: 'v=1' }, id: idA });
    await never('a signal for others', () => b.heard.find(packet => packet.startsWith?.('42')));
    for (const link of [a, b, c]) link.socket.close();
  });
  check('no signal leaves its vamp; what is no signal disturbs nobody', async () => {
    const [a, b] = [await member(unique('v')), await member(unique('v'))];
    const c = await member(unique('v'));
    c.emit('join vamp', unique('w'));
    a.emit('sending signal', offerTo(protocol === 3 ? b.opened.sid : JSON.parse(b.connected.slice(2)).sid));
    for (const junk of [null, 1, 'x', [], {}, { signal: 1 }]) for (const event of ['sending signal', 'returning signal']) a.emit(event, junk);
    a.emit('nothing known');
    await never('a signal', () => b.heard.find(packet => packet.startsWith?.('42')));
    holds(!a.closed, 'the session of the junk was ended');
    for (const link of [a, b, c]) link.socket.close();
  });
  check('two that join at once: one is told of the other', async () => {
    for (let i = 0; i < 10; i++) {
      const vamp = unique('v');
      const links = await Promise.all([0, 1].map(async () => (await websocket(root, protocol)).enter()));
      links.forEach(link => link.emit('join vamp', vamp));
      const lists = await Promise.all(links.map(link => link.event('all users')));
      same(lists.map(list => list.length).sort(), [0, 1]);
      links.forEach(link => link.socket.close());
    }
  });
  check('the genuine client loses and doubles nothing while it upgrades', async () => {
    const vamp = unique('v');
    const url = new URL(root);
    const socket = (protocol === 3 ? io2 : io4)(url.origin, { path: url.pathname, forceNew: true, reconnection: false });
    const got = [];
    socket.on('user joined', ({ signal }) => got.push(signal.n));
    let list;
    socket.on('all users', users => { list = users; });
    socket.on('connect', () => socket.emit('join vamp', vamp));
    await until('the list', () => list);
    const b = await member(vamp);
    for (let n = 0; n < 300; n++) {
      b.emit('sending signal', offerTo(b.others[0], n));
      if (n % 20 === 0) await new Promise(done => setTimeout(done, 5));
    }
    await until('all signals', () => got.length >= 300);
    same(got, Array.from({ length: 300 }, (_, n) => n));
    await until('the upgrade', () => socket.io.engine.transport.name === 'websocket');
    socket.close();
    b.socket.close();
  });
}
checks['a request without EIO is of protocol 3'] = async () => {
  if (!protocols.includes(3)) return;
  const payload = await (await fetch(at(root, { transport: 'polling' }))).text();
  holds(/^\d+:0\{/.test(payload), payload.slice(0, 60));
};
await suite(checks, { atOnce: 40 });
