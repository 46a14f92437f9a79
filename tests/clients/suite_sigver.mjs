// node suite_sigver.mjs URL: what a sigver server must do, message by message. URL is ws://host:port, with or without a prefix.
import { WebSocket } from 'ws';
import { words } from './lib/args.mjs';
import { connect, connected, content, decode, heartbeat } from './lib/sigver_wire.mjs';
import { holds, never, same, suite, unique } from './lib/suite.mjs';
import { until } from './lib/until.mjs';

const [url] = words;
const [A, B, C] = [3000000001, 4000000002, 2500000003];

/** A connection that notes what it hears. */
async function open(key) {
  const socket = new WebSocket(`${url.replace(/\/$/, '')}/${key}`, { perMessageDeflate: false });
  const peer = { socket, heard: [], raw: [], closed: undefined, beats: 0 };
  let upgraded = false;
  socket.on('open', () => { upgraded = true; });
  socket.on('error', error => { peer.error = error; });
  socket.on('close', (code, reason) => { peer.closed = { code, reason: reason.toString() }; });
  socket.on('message', (data, binary) => {
    holds(binary, 'a text frame from the server');
    const message = decode(data);
    if ('heartbeat' in message) { peer.beats += 1; return; }
    peer.raw.push(data);
    peer.heard.push(message);
  });
  peer.say = bytes => socket.send(bytes);
  peer.next = async what => { await until(what, () => peer.heard.length > 0 || peer.closed, 20000); holds(peer.heard.length > 0, `closed instead of ${what}: ${JSON.stringify(peer.closed)}`); return peer.heard.shift(); };
  peer.end = async () => { await until('the close', () => peer.closed, 30000); return peer.closed; };
  /** Asks to be a member; gives the answer. */
  peer.ask = async (id, members, packed) => { peer.say(connect(id, members, packed)); return (await peer.next('an answer to connect')).connected; };
  // a server that refuses a key closes after the upgrade
  await until('the upgrade', () => upgraded || peer.error, 20000);
  holds(upgraded, `no upgrade: ${peer.error}`);
  return peer;
}
/** A member and a joiner bound to it. */
async function pair(key = unique('k')) {
  const member = await open(key);
  same(await member.ask(A), true, 'the first one');
  const joiner = await open(key);
  same(await joiner.ask(B), false, 'the second one');
  return { key, member, joiner };
}
const close = (...peers) => peers.forEach(peer => peer.socket.close(1000));

await suite({
  'the first one of a key is told true, byte for byte': async () => {
    const peer = await open(unique('k'));
    peer.say(Buffer.from('1a060881bcc1960b', 'hex'));
    await until('an answer', () => peer.raw.length > 0);
    same(peer.raw[0].toString('hex'), '2001');
    close(peer);
  },
  'the first one is told true whatever members it names, each time it asks': async () => {
    const peer = await open(unique('k'));
    for (const members of [[1, 2, 3], [1, 2, 3], [], [], [9]]) same(await peer.ask(A, members), true);
    close(peer);
  },
  'a second one is told false': async () => {
    const { member, joiner } = await pair();
    close(member, joiner);
  },
  'one that names a member is told true, packed or not': async () => {
    for (const packed of [true, false]) {
      const key = unique('k');
      const [a, b] = [await open(key), await open(key)];
      same(await a.ask(A), true);
      same(await b.ask(B, [A], packed), true, packed ? 'packed' : 'not packed');
      close(a, b);
    }
  },
  'content goes to the member with a fresh id, and back by that id': async () => {
    const { member, joiner } = await pair();
    joiner.say(content({ senderId: 7, recipientId: 5, data: Buffer.from('to the member') }));
    const there = (await member.next('content')).content;
    same(there.data.toString(), 'to the member');
    holds(there.senderId > 0 && there.senderId < 2 ** 31, `a signalling id of ${there.senderId}`);
    same([there.recipientId, there.lastData], [0, undefined]);
    member.say(content({ recipientId: there.senderId, data: Buffer.from('back') }));
    const back = (await joiner.next('content')).content;
    same([back.data.toString(), back.senderId, back.recipientId], ['back', 0, there.senderId]);
    close(member, joiner);
  },
  'content is written byte for byte as the original writes it': async () => {
    const { member, joiner } = await pair();
    const data = '0882d0acf30e1000184a22021200';
    joiner.say(Buffer.from(`121a0882d0acf30e10001800220e${data}`, 'hex'));
    await until('content', () => member.raw.length > 1);
    const id = member.heard[0].content.senderId;
    const wanted = content({ senderId: id, data: Buffer.from(data, 'hex') }).toString('hex').replace('10001800', '1000');
    // without lastData the message is two bytes shorter
    same(member.raw[1].toString('hex').slice(4), wanted.slice(4));
    close(member, joiner);
  },
  'two joiners of one member are told apart': async () => {
    const { key, member, joiner } = await pair();
    const other = await open(key);
    same(await other.ask(C), false);
    joiner.say(content({ data: Buffer.from('one') }));
    const one = (await member.next('content')).content;
    other.say(content({ data: Buffer.from('two') }));
    const two = (await member.next('content')).content;
    holds(one.senderId !== two.senderId, 'the same signalling id twice');
    member.say(content({ recipientId: two.senderId, data: Buffer.from('for two') }));
    member.say(content({ recipientId: one.senderId, data: Buffer.from('for one') }));
    same((await joiner.next('content')).content.data.toString(), 'for one');
    same((await other.next('content')).content.data.toString(), 'for two');
    same([joiner.heard.length, other.heard.length], [0, 0], 'content of somebody else');
    close(member, joiner, other);
  },
  'a binding outlives the joiner becoming a member': async () => {
    const { member, joiner } = await pair();
    same(await joiner.ask(B, [A]), true);
    joiner.say(content({ data: Buffer.from('late') }));
    const late = (await member.next('content')).content;
    same(late.data.toString(), 'late');
    member.say(content({ recipientId: late.senderId, data: Buffer.from('late too') }));
    same((await joiner.next('content')).content.data.toString(), 'late too');
    close(member, joiner);
  },
  'after the last data nothing more goes that way, the other way works': async () => {
    const { member, joiner } = await pair();
    joiner.say(content({ data: Buffer.from('last'), lastData: true }));
    joiner.say(content({ data: Buffer.from('too late') }));
    const last = (await member.next('content')).content;
    same(last.data.toString(), 'last');
    await never('content after the last', () => member.heard[0]);
    member.say(content({ recipientId: last.senderId, data: Buffer.from('back') }));
    same((await joiner.next('content')).content.data.toString(), 'back');
    close(member, joiner);
  },
  'a single member that does not help is replaced, with 4744': async () => {
    const { member, joiner } = await pair();
    same(await joiner.ask(B), true);
    same((await member.end()).code, 4744);
    close(joiner);
  },
  'members are tried one after the other, then again': async () => {
    const { key, member, joiner: second } = await pair();
    same(await second.ask(B, [A]), true);
    const joiner = await open(key);
    for (const [round, bound] of [member, second, member, second].entries()) {
      same(await joiner.ask(C), false, `round ${round}`);
      joiner.say(content({ data: Buffer.from(`round ${round}`) }));
      same((await bound.next(`content of round ${round}`)).content.data.toString(), `round ${round}`);
    }
    close(member, second, joiner);
  },
  'a favored member is tried first': async () => {
    const key = unique('k');
    const plain = await open(key);
    same(await plain.ask(A), true);
    const favored = await open(`${key}?favored`);
    same(await favored.ask(B, [A]), true);
    const joiner = await open(key);
    same(await joiner.ask(C), false);
    joiner.say(content({ data: Buffer.from('x') }));
    same((await favored.next('content')).content.data.toString(), 'x');
    close(plain, favored, joiner);
  },
  'a member of a group that names strangers is a member no more': async () => {
    const { member, joiner } = await pair();
    same(await joiner.ask(B, [A]), true);
    same(await joiner.ask(B, [12345]), false);
    joiner.say(content({ data: Buffer.from('again') }));
    same((await member.next('content')).content.data.toString(), 'again');
    close(member, joiner);
  },
  'the member is told once that a joiner has gone': async () => {
    const { member, joiner } = await pair();
    joiner.say(content({ data: Buffer.from('x') }));
    const { senderId } = (await member.next('content')).content;
    close(joiner);
    same((await member.next('the end')).content, { senderId, recipientId: 0 });
    await never('a second end', () => member.heard[0]);
    close(member);
  },
  'a joiner is told once that its member has gone, and starts over': async () => {
    const { member, joiner } = await pair();
    close(member);
    const end = (await joiner.next('the end')).content;
    same([end.senderId, end.data], [0, undefined]);
    holds(end.recipientId > 0, 'its own signalling id');
    same(await joiner.ask(B), true);
    close(joiner);
  },
  'an empty group is forgotten': async () => {
    const key = unique('k');
    const first = await open(key);
    same(await first.ask(A), true);
    close(first);
    await first.end();
    const second = await open(key);
    same(await second.ask(B), true);
    close(second);
  },
  'content without a partner, and connected from a client, change nothing': async () => {
    const peer = await open(unique('k'));
    peer.say(content({ recipientId: 99, data: Buffer.from('x') }));
    peer.say(connected(true));
    same(await peer.ask(A), true);
    close(peer);
  },
  'a text frame, no known member and broken bytes are refused with 4743': async () => {
    const healthy = await open(unique('k'));
    for (const [what, bytes] of [['text', 'hello'], ['empty', Buffer.alloc(0)], ['unknown', Buffer.from('f80101', 'hex')], ['cut', Buffer.from('1220', 'hex')]]) {
      const peer = await open(unique('k'));
      peer.say(bytes);
      same((await peer.end()).code, 4743, what);
    }
    same(await healthy.ask(A), true);
    close(healthy);
  },
  'keys are 1 to 512 characters long, else 4741 after the upgrade': async () => {
    for (const key of ['', 'x'.repeat(513)]) same((await (await open(key)).end()).code, 4741, `${key.length} characters`);
    const longest = await open(unique('k').padEnd(512, 'x'));
    same(await longest.ask(A), true);
    close(longest);
  },
  'keys are taken as they are written': async () => {
    const key = unique('k');
    const peers = [];
    for (const path of [key, `${key}/b`, `${key}%20b`, `${key}%C3%A9`]) {
      const peer = await open(path);
      same(await peer.ask(A), true, path);
      peers.push(peer);
    }
    const other = await open(`${key}%20b?token=1`);
    same(await other.ask(B), false, 'the same key with a query');
    close(...peers, other);
  },
  'one that never sends a heartbeat gets two and is closed with 4742': async () => {
    const start = Date.now();
    const peer = await open(unique('k'));
    same((await peer.end()).code, 4742);
    same(peer.beats, 2, 'heartbeats of the server');
    holds(Date.now() - start > 12000, 'closed too early');
  },
  'heartbeats, of either value, keep a connection': async () => {
    const peers = [await open(unique('k')), await open(unique('k'))];
    const timers = peers.map((peer, index) => setInterval(() => peer.say(heartbeat(index === 0)), 5000));
    await new Promise(done => setTimeout(done, 18000));
    timers.forEach(clearInterval);
    for (const peer of peers) {
      same(peer.closed, undefined);
      holds(peer.beats >= 2 && peer.beats <= 4, `${peer.beats} heartbeats in 18 s`);
      same(await peer.ask(A), true);
    }
    close(...peers);
  },
}, { atOnce: 30 });
