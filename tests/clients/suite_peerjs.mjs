// node suite_peerjs.mjs BASE PATH KEY [allowed|refused]: what a PeerJS broker must do, message by message, with its list of peers allowed or
// refused. Messages wait 5 s for an absent peer there.
import { WebSocket } from 'ws';
import { words } from './lib/args.mjs';
import { holds, never, same, suite, unique } from './lib/suite.mjs';
import { until } from './lib/until.mjs';

const [base, path, key, discovery = 'refused'] = words;
const mount = path.replace(/\/$/, '');
const api = (name, init) => fetch(`${base}${mount}/${key}/${name}`, init);
const address = query => `${base.replace(/^http/, 'ws')}${mount}/peerjs${query}`;

async function open(query) {
  const socket = new WebSocket(address(query));
  const client = { socket, heard: [], closed: undefined };
  socket.on('error', error => { client.error = error; });
  socket.on('close', code => { client.closed = { code }; });
  socket.on('message', data => client.heard.push(JSON.parse(data)));
  client.say = message => socket.send(JSON.stringify(message));
  client.next = async what => {
    await until(what, () => client.heard.length > 0 || client.closed || client.error, 20000);
    holds(client.heard.length > 0, `an end instead of ${what}: ${JSON.stringify(client.closed)} ${client.error ?? ''}`);
    return client.heard.shift();
  };
  return client;
}
/** A registered client. */
async function register(id = unique('p'), token = unique('t')) {
  const client = Object.assign(await open(`?key=${key}&id=${id}&token=${token}&version=1.5.5`), { id, token });
  same(await client.next('OPEN'), { type: 'OPEN' }, 'the first frame');
  return client;
}
const close = (...clients) => clients.forEach(client => client.socket.close());
const offer = (dst, n = 0) => ({ type: 'OFFER', dst, payload: { n, sdp: { type: 'offer', sdp: 'v=0' }, list: [null, true, 'Grüße 😀'] } });

await suite({
  'the mount tells its name': async () => {
    const response = await fetch(`${base}${mount}/`);
    same(response.status, 200);
    const body = await response.json();
    for (const member of ['name', 'description', 'website']) holds(typeof body[member] === 'string', `no ${member}`);
  },
  'ids are fresh UUIDs in plain text': async () => {
    const ids = new Set();
    for (let i = 0; i < 5; i++) {
      const response = await api(`id?ts=${Date.now()}${Math.random()}&version=1.5.5`);
      same(response.status, 200);
      holds(response.headers.get('content-type').startsWith('text/html'), response.headers.get('content-type'));
      const id = await response.text();
      holds(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id), `an id of ${JSON.stringify(id)}`);
      ids.add(id);
    }
    same(ids.size, 5, 'different ids');
  },
  'any origin is reflected, and preflights are answered': async () => {
    const Origin = `http://${unique()}.example`;
    const response = await api('id', { headers: { Origin } });
    same(response.headers.get('access-control-allow-origin'), Origin);
    holds(/origin/i.test(response.headers.get('vary') ?? ''), 'no Vary: Origin');
    const preflight = await api('id', { method: 'OPTIONS', headers: { Origin, 'Access-Control-Request-Method': 'GET' } });
    same(preflight.status, 204);
    same(preflight.headers.get('access-control-allow-origin'), Origin);
    holds(preflight.headers.get('access-control-allow-methods').includes('GET'), 'GET is not allowed');
  },
  'the list of peers is as configured': async () => {
    const client = await register();
    const response = await api('peers');
    same(response.status, discovery === 'allowed' ? 200 : 401);
    if (discovery === 'allowed') holds((await response.json()).includes(client.id), 'the peer is not in the list');
    else same(await response.text(), 'Unauthorized');
    close(client);
  },
  'unknown paths and the calls of old versions are 404': async () => {
    same((await api('nothing')).status, 404);
    same((await api('id/token/offer', { method: 'POST' })).status, 404);
  },
  'a missing id, token or key is told, then closed': async () => {
    for (const query of ['', `?key=${key}`, `?key=${key}&id=x`, `?key=${key}&token=x`, '?id=x&token=x', `?key=${key}&id=&token=x`]) {
      const client = await open(query);
      same(await client.next('an error'), { type: 'ERROR', payload: { msg: 'No id, token, or key supplied to websocket server' } }, query);
      await until('the close', () => client.closed);
    }
  },
  'a wrong key is told, then closed': async () => {
    const client = await open(`?key=${key}x&id=${unique()}&token=t`);
    same(await client.next('an error'), { type: 'ERROR', payload: { msg: 'Invalid key provided' } });
    await until('the close', () => client.closed);
  },
  'another websocket path is refused with 400': async () => {
    const socket = new WebSocket(`${base.replace(/^http/, 'ws')}${mount}/peerjsx?key=${key}&id=a&token=b`);
    const status = await new Promise(done => {
      socket.on('unexpected-response', (_, response) => done(response.statusCode));
      socket.on('open', () => done('open'));
      socket.on('error', error => done(String(error)));
    });
    same(status, 400);
  },
  'a taken id is refused, and its owner undisturbed': async () => {
    const [owner, other] = [await register(), await register()];
    const thief = await open(`?key=${key}&id=${owner.id}&token=other`);
    same(await thief.next('a refusal'), { type: 'ID-TAKEN', payload: { msg: 'ID is taken' } });
    await until('the close', () => thief.closed);
    other.say(offer(owner.id));
    same((await owner.next('an offer')).src, other.id);
    close(owner, other);
  },
  'the same id and token on a new socket takes the place over': async () => {
    const [old, other] = [await register(), await register()];
    const fresh = await open(`?key=${key}&id=${old.id}&token=${old.token}`);
    await until('the upgrade', () => fresh.socket.readyState === WebSocket.OPEN);
    // the original says nothing here, others say OPEN
    await new Promise(done => setTimeout(done, 300));
    other.say(offer(old.id));
    let got = await fresh.next('OPEN or an offer');
    if (got.type === 'OPEN') got = await fresh.next('an offer');
    same(got, { ...offer(old.id), src: other.id }, 'the offer');
    same(old.heard, [], 'the old socket');
    close(old, fresh, other);
  },
  'offers, answers, candidates and leaves are forwarded, their source set by the broker, other members left out': async () => {
    const [a, b] = [await register(), await register()];
    for (const type of ['OFFER', 'ANSWER', 'CANDIDATE', 'LEAVE', 'EXPIRE']) {
      const payload = { type, deep: { list: [1, 2.5, null, 'x'] } };
      a.say({ type, src: 'forged', dst: b.id, payload, id: 'extra', more: 1 });
      const got = await b.next(type);
      same(Object.keys(got).sort(), ['dst', 'payload', 'src', 'type']);
      same([got.type, got.src, got.dst, got.payload], [type, a.id, b.id, payload]);
    }
    close(a, b);
  },
  'messages between two keep their order': async () => {
    const [a, b] = [await register(), await register()];
    for (let n = 0; n < 100; n++) a.say(offer(b.id, n));
    for (let n = 0; n < 100; n++) same((await b.next(`offer ${n}`)).payload.n, n);
    close(a, b);
  },
  'messages to an absent peer wait and come in order after OPEN': async () => {
    const [a, late] = [await register(), unique('late')];
    for (let n = 0; n < 5; n++) a.say(offer(late, n));
    await new Promise(done => setTimeout(done, 1000));
    const b = await register(late);
    for (let n = 0; n < 5; n++) same((await b.next(`offer ${n}`)).payload.n, n);
    await never('an EXPIRE of delivered messages', () => a.heard[0], 7000);
    close(a, b);
  },
  'messages nobody fetches come back as one EXPIRE per sender and destination': async () => {
    const [a, b, ghost] = [await register(), await register(), unique('ghost')];
    const start = Date.now();
    for (let n = 0; n < 3; n++) a.say(offer(ghost, n));
    b.say(offer(ghost));
    for (const client of [a, b]) {
      const got = await client.next('EXPIRE');
      same([got.type, got.src, got.dst], ['EXPIRE', ghost, client.id]);
      holds(Date.now() - start > 4500, 'an EXPIRE too early');
    }
    await never('a second EXPIRE', () => a.heard[0] ?? b.heard[0], 3000);
    close(a, b);
  },
  'LEAVE and EXPIRE to an absent peer vanish': async () => {
    const [a, ghost] = [await register(), unique('ghost')];
    for (const type of ['LEAVE', 'EXPIRE']) a.say({ type, dst: ghost });
    const b = await register(ghost);
    await never('a frame', () => a.heard[0] ?? b.heard[0], 8000);
    close(a, b);
  },
  'LEAVE without a destination frees the id': async () => {
    const a = await register();
    a.say({ type: 'LEAVE' });
    await new Promise(done => setTimeout(done, 500));
    const again = await register(a.id);
    close(a, again);
  },
  'an id is free when its socket has closed': async () => {
    const a = await register();
    close(a);
    await until('the close', () => a.closed);
    await new Promise(done => setTimeout(done, 200));
    close(await register(a.id));
  },
  'heartbeats are not answered, however many; unknown types are passed over; binary frames are read': async () => {
    const [a, b] = [await register(), await register()];
    for (let n = 0; n < 2000; n++) a.say({ type: 'HEARTBEAT' });
    for (const message of [{ type: 'SOMETHING', dst: b.id }, { dst: b.id }, {}]) a.say(message);
    a.socket.send(Buffer.from(JSON.stringify(offer(b.id, 9))), { binary: true });
    same((await b.next('an offer')).payload.n, 9);
    same(a.heard, []);
    close(a, b);
  },
}, { atOnce: 20 });
