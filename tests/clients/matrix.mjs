// node matrix.mjs BASE ROOM ORDER PROMISE: one member of each dialect joins the room, in order of the list below (`forward`) or the other way
// round (`reverse`). Each says its name over and over, and sends a picture and a sound that are its own. What each member sees, hears, reads
// and is refused is the result, by member: `{ pictures, sounds, texts, twice, refusals }`, names of members; `twice` are those of whom one and
// the same text came more than once.
// PROMISE is what is waited for, in the same form. When all of it has come, or nothing new within the limit, a while more is waited for
// what was not promised. `--only=tribe,vamp` leaves the others out.
import { withBrowser } from './browser.mjs';
import { option, words as given } from './lib/args.mjs';
import { connect as algorea } from './lib/algorea.mjs';
import { marked, seen } from './lib/marks.mjs';
import { connect as netflux } from './lib/netflux.mjs';
import { connect as peerjs } from './lib/peerjs.mjs';
import { connect as simplePeerjs } from './lib/simple_peerjs.mjs';
import { createNode } from './lib/star.mjs';
import { connect as tribe } from './lib/tribe.mjs';
import { connect as vamp } from './lib/vamp.mjs';
import { enter, join } from './page.mjs';

const [base, room, order, promise = '{}'] = given;
const wanted = JSON.parse(promise);
const only = option('only');
const ws = base.replace('http', 'ws');
const sleep = ms => new Promise(done => setTimeout(done, ms));
/** Patience with all that is promised, and with what is not, in ms. */
const LIMIT = 60000;
const AFTER = 3000;

const DIALECTS = { page: 'page', tribe: 'tribe', whip: 'whip', whep: 'whep', algorea: 'algorea', vamp: 'vamp', sigver: 'sigver', source: 'source', 'webrtc-star': 'webrtc-star' };
/** The room's members as the API has them, each with the name it has here. */
async function members() {
  const view = await (await fetch(`${base}/api/v1/rooms/${room}`)).json();
  topology = view.topology;
  return view.members.map(member => ({ ...member, name: DIALECTS[member.dialect] ?? (member.user_id === SIMPLE ? 'simple-peerjs' : member.dialect) }));
}
const [PEERJS, SIMPLE] = ['peerjs-of-matrix', 'simple-of-matrix'];
/** A member's id as the others of its dialect know it, or in the form that PeerJS clients know strangers by. */
const called = member => ({ peerjs: PEERJS, 'simple-peerjs': SIMPLE })[member.name] ?? member.id;
/** Its id as algorea's clients know it. */
const short = member => Buffer.from(member.id, 'hex').toString('base64url');
const failures = [];
let topology;
// simple-peerjs throws in its socket's handler at what it does not understand
process.on('uncaughtException', error => failures.push(`uncaught: ${error.stack}`));
process.on('unhandledRejection', error => failures.push(`unhandled: ${error?.stack ?? error}`));
/** Whom a PeerJS client does not call: itself, and in a mesh the other library, whose offers have another form. (simple-peerjs throws at one.) */
const strangers = (other, own) => other.name === own || topology === 'mesh' && ['peerjs', 'simple-peerjs'].includes(other.name);
const attempt = async (what, action) => { try { return await action(); } catch (error) { failures.push(`${what}: ${error.message}`); return undefined; } };

/** How each comes in, and what is to be done with it: `say(text)`, `media()`, `texts()`, `refused(members)`, `meet(members)`. */
const dialects = open => ({
  async tribe() {
    const client = await tribe(marked(open, 'tribe'), { url: `${ws}/api`, room, media: true, user: 'tribe' });
    return {
      meet: () => {},
      // the document has no word to all; the others' ids come with their first events
      say: async text => { for (const id of await client.peers()) await client.sendText(text, id); },
      texts: () => client.texts(),
      media: () => seen(client.page),
      refused: async () => [],
      about: async () => ({ frames: (await client.frames()).map(({ a, e, d }) => `${a}${e ? ` ${e}` : ''} ${d?.from?.socketId ?? d?.socketId ?? ''} ${d?.sdp?.type ?? d?.candidate?.candidate ?? ''}`).filter(line => !line.startsWith('exchangeCandidateR')).slice(0, 80), states: await client.states() }),
    };
  },
  async page() {
    const page = await enter(marked(open, 'page'), base, room);
    await join(page, 'page');
    await page.click('#chat-open');
    return {
      meet: () => {},
      say: async text => { await page.fill('#chat-text', text); await page.press('#chat-text', 'Enter'); },
      texts: () => page.$$eval('.said:not(.own) .said-text', all => all.map(one => ({ text: one.textContent }))),
      media: () => seen(page),
      about: () => page.evaluate(() => portico.figures()),
    };
  },
  async whip() {
    const page = await marked(open, 'whip')(`${base}/healthz`);
    await page.evaluate(path => t.publish('own', path), `/whip/${room}/whip`);
    return { meet: () => {}, about: () => page.evaluate(() => t.state('own')) };
  },
  async algorea() {
    const client = await algorea(open, { url: `${ws}/algorea?room=${room}` });
    return {
      // it offers to all it is told of; whom it is not told of it may not reach
      meet: async all => {
        const known = (await client.frames()).flatMap(frame => [...frame.peerIds ?? [], ...frame.fromPeerId ? [frame.fromPeerId] : []]);
        for (const toPeerId of all.filter(({ name }) => name !== 'algorea').map(short).filter(id => !known.includes(id))) {
          await client.say({ action: 'forward-offer', toPeerId, offer: { type: 'offer', sdp: 'v=0' } });
        }
      },
      say: text => client.sendText(text),
      texts: () => client.texts(),
      refused: async all => {
        const errors = (await client.frames()).filter(frame => frame.type === 'error');
        return all.filter(member => errors.some(error => error.toPeerId === short(member))).map(member => member.name);
      },
      about: async () => ({ errors: await client.errors(), frames: (await client.frames()).map(frame => [frame.type, frame.code, frame.fromPeerId ?? frame.toPeerId].join(' ')).filter(line => !line.startsWith('icecandidate')), states: await client.states() }),
    };
  },
  async peerjs() {
    const client = await peerjs(marked(open, 'peerjs'), { url: base, path: '/peerjs', key: 'matrix', id: PEERJS, media: true });
    return {
      // whoever wants something of somebody calls
      meet: async all => {
        for (const member of all.filter(other => !strangers(other, 'peerjs'))) {
          // a tribe client has one connection with each other member: Portico's, as soon as somebody's stream is up
          if (topology === 'mesh' && member.name === 'tribe') continue;
          // with whom it has words already it does not open a second way for them
          if (topology !== 'mesh' || !(await client.peers()).includes(called(member))) await client.ask(called(member), { serialization: 'raw', label: 'chat' });
          await client.call(called(member));
        }
        await client.ask(room, { serialization: 'raw', label: 'chat' });
        await client.call(room);
      },
      say: text => client.sendText(text),
      texts: () => client.texts(),
      media: () => seen(client.page),
      refused: async all => {
        const errors = (await client.events()).filter(event => event.error);
        return all.filter(member => errors.some(error => JSON.stringify(error).includes(called(member)))).map(member => member.name);
      },
      about: async () => ({ events: await client.events(), peers: await client.peers(), states: await client.states() }),
    };
  },
  async 'simple-peerjs'() {
    const client = await simplePeerjs(null, { url: base, path: '/peerjs', key: 'matrix', id: SIMPLE, pingInterval: 5000 });
    const refused = [];
    return {
      meet: async all => {
        for (const member of all.filter(other => !strangers(other, 'simple-peerjs'))) {
          // see above
          if (topology === 'mesh' && member.name === 'tribe') continue;
          if (topology === 'mesh' && client.peers().includes(called(member))) continue;
          // a connection that never opens fails by the library's own limit
          client.dial(called(member)).catch(error => refused.push({ name: member.name, error: String(error?.type ?? error) }));
        }
        client.dial(room).catch(error => refused.push({ name: 'room', error: String(error?.type ?? error) }));
      },
      say: text => client.sendText(text),
      texts: () => client.texts(),
      refused: () => refused.map(({ name }) => name).filter(name => name !== 'room'),
      about: () => ({ events: client.events(), peers: client.peers(), states: client.states(), refused }),
    };
  },
  async vamp() {
    const client = await vamp(marked(open, 'vamp'), { url: base, vamp: room, client: 4, audio: true });
    return {
      meet: () => {},
      say: text => client.sendText(text),
      texts: () => client.texts(),
      media: () => seen(client.page),
      refused: async () => [],
      about: async () => ({ events: await client.events(), peers: await client.peers(), states: await client.states() }),
    };
  },
  async sigver() {
    const client = await netflux(open, { url: `${ws}/sigver`, key: room });
    return {
      meet: () => {},
      say: text => client.sendText(text),
      texts: () => client.texts(),
      about: async () => ({ group: await client.groupStates(), peers: await client.peers(), events: await client.events() }),
    };
  },
  async 'webrtc-star'() {
    const { node, discovered } = await createNode(base);
    return { meet: () => {}, texts: () => [], about: () => ({ discovered: [...discovered], connections: node.getConnections().length }) };
  },
  async whep() {
    const page = await marked(open, 'whep')(`${base}/healthz`);
    await page.evaluate(path => t.play('default', path), `/whep/${room}`);
    return {
      meet: () => page.evaluate(async room => { for (const stream of ['source', 'whip']) await t.play(stream, `/whep/${room}/${stream}`); }, room),
      media: () => seen(page),
    };
  },
});

const words = text => /said by ([a-z-]+) #[0-9]+/.exec(typeof text === 'string' ? text : JSON.stringify(text));
const sorted = values => [...new Set(values)].filter(Boolean).sort();

await withBrowser(async open => {
  const all = dialects(open);
  const names = Object.keys(all).filter(name => only === undefined || only.split(',').includes(name));
  const list = order === 'reverse' ? names.reverse() : names;
  const here = {};
  for (const name of list) here[name] = await attempt(`join of ${name}`, () => all[name]()) ?? {};
  // a stream is up with its first packets
  await sleep(2000);
  const present = await members();
  for (const name of list) await attempt(`${name} meets the others`, () => here[name].meet?.(present));

  const look = async () => {
    const result = {};
    for (const [name, one] of Object.entries(here)) {
      const media = await one.media?.() ?? { pictures: [], sounds: [] };
      const heard = (await one.texts?.() ?? []).map(entry => words(entry.text)).filter(found => found && found[1] !== name);
      const all = heard.map(([whole]) => whole);
      const twice = sorted(heard.filter(([whole], i) => all.indexOf(whole) !== i).map(([, from]) => from));
      result[name] = { ...media, texts: sorted(heard.map(([, from]) => from)), twice, refusals: sorted(await one.refused?.(present) ?? []) };
    }
    return result;
  };
  const complete = now => Object.entries(wanted).every(([name, kinds]) =>
    Object.entries(kinds).every(([kind, from]) => from.every(other => now[name]?.[kind]?.includes(other))));
  let now;
  for (let round = 1, end = Date.now() + LIMIT; ; round += 1) {
    for (const [name, one] of Object.entries(here)) await attempt(`${name} says something`, () => one.say?.(`said by ${name} #${round}`));
    await sleep(1000);
    now = await look();
    if (complete(now) || Date.now() > end) break;
  }
  await sleep(AFTER);
  now = await look();
  const about = {};
  for (const [name, one] of Object.entries(here)) about[name] = await attempt(`what ${name} tells`, () => one.about?.());
  return { seen: now, about, failures: sorted(failures), members: present.map(member => `${member.name} ${member.id}`) };
});
// simple-peerjs and libp2p keep the process
process.exit(process.exitCode ?? 0);
