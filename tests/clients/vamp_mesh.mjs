// node vamp_mesh.mjs URL [VERSION] [VAMP]: three members in Node, socket.io-client VERSION (2 or 4; `mixed` for both): a mesh comes up; a JSON
// header and binary slices arrive once each, in order; one leaves; a fourth comes. A server that stores clips calls the first,
// and is one more member of each later list; `--stores=1`: it is such a one.
import { option, words } from './lib/args.mjs';
import { connect } from './lib/vamp.mjs';
import { withNode } from './lib/node_client.mjs';
import { until } from './lib/until.mjs';

const [url, version = '2', vamp = `v${Math.random().toString(36).slice(2)}`] = words;
const clientOf = index => version === 'mixed' ? [2, 4][index % 2] : Number(version);
await withNode(async () => {
  const all = [];
  const room = [];
  for (let i = 0; i < 3; i++) {
    all.push(await connect(null, { url, vamp, client: clientOf(i), user: `u${i}`, join: i === 2 ? 'join room' : 'join vamp' }));
    if (i > 0) continue;
    // nobody but the server can call who is alone; one that does not store clips will not
    const caller = until('the server', () => all[0].events().find(event => event['user joined'])?.['user joined'], option('stores') ? 60000 : 2000);
    room.push(...await caller.then(id => [id], error => { if (option('stores')) throw error; return []; }));
  }
  for (const member of all) await until('a mesh of three', () => member.peers().length === 2 + room.length);
  const ids = all.map(member => member.id());
  const lists = all.map(member => member.events().find(event => event['all users'])['all users']);
  if (JSON.stringify(lists) !== JSON.stringify([[], [ids[0], ...room], [ids[0], ids[1], ...room]])) throw new Error(`lists: ${JSON.stringify(lists)} of ${ids}`);
  const result = { ids, room, transports: [], clips: [] };
  for (const member of all) result.transports.push(await until('websocket', () => member.transport() === 'websocket' && member.transport()));
  for (const [index, sender] of all.entries()) {
    const sent = await sender.sendClip({ userId: `u${index}`, startTime: 12.5 + index }, 33);
    for (const receiver of all.filter(member => member !== sender)) {
      const clip = await until('a whole clip', () => receiver.clips().find(one => one.from === ids[index] && one.bytes >= sent.bytes));
      if (clip.slices !== sent.slices || clip.digest !== sent.digest || clip.head.startTime !== 12.5 + index) throw new Error(`sent ${JSON.stringify(sent)}, got ${JSON.stringify(clip)}`);
      result.clips.push(clip);
    }
  }
  // of two others: a header and 33 slices each, once, of the kinds they were sent as
  result.wire = all.map(member => member.wire());
  for (const wire of result.wire) if (wire.text !== 2 || wire.binary !== 66) throw new Error(`frames on the wire: ${JSON.stringify(result.wire)}`);
  all[2].leave();
  for (const member of all.slice(0, 2)) await until('the leave', () => member.peers().length === 1 + room.length);
  all.push(await connect(null, { url, vamp, client: clientOf(3), user: 'u3' }));
  const others = all[3].events().find(event => event['all users'])['all users'];
  if (JSON.stringify(others) !== JSON.stringify([...ids.slice(0, 2), ...room])) throw new Error(`the list after a leave: ${others}`);
  await until('the fourth', () => all[3].peers().length === 2 + room.length);
  result.events = all.map(member => member.events());
  const errors = result.events.flat().filter(event => event.error && event.error.id !== ids[2]);
  if (errors.length > 0) throw new Error(`errors: ${JSON.stringify(errors)}`);
  return result;
});
