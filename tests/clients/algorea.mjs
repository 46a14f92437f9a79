// node algorea.mjs URL [BRANCH_URL]: clients of both variants of the workflow. URL is a websocket address without variant, such as
// ws://127.0.0.1:8780/algorea; the branch address is the same with `?variant=branch` unless given. All four orders of document and branch
// meet two by two in rooms of their own and exchange text; then three in one room, an error, a leave.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { connect } from './lib/algorea.mjs';
import { until } from './lib/until.mjs';

const [url, branch = url] = words;
const unique = Math.random().toString(36).slice(2);
const address = (variant, room) => {
  const made = new URL(variant === 'branch' ? branch : url);
  made.searchParams.set('variant', variant);
  made.searchParams.set('room', `${room}-${unique}`);
  return made.href;
};
const enter = (open, variant, room) => connect(open, { url: address(variant, room), variant, label: variant === 'branch' ? 'chat' : 'AlgoreaForum' });

await withBrowser(async open => {
  const result = { pairs: [] };
  const everyone = [];
  for (const [present, newcomer] of [['document', 'document'], ['document', 'branch'], ['branch', 'document'], ['branch', 'branch']]) {
    const room = `${present}-${newcomer}`;
    const a = await enter(open, present, room);
    const b = await enter(open, newcomer, room);
    everyone.push(a, b);
    for (const [name, client] of [['the one present', a], ['the newcomer', b]]) await until(`${room}: a link at ${name}`, async () => (await client.peers()).length === 1);
    await a.sendText('from the present one 😀');
    await b.sendText('from the newcomer');
    await until(`${room}: text at the newcomer`, async () => (await b.texts()).some(entry => entry.text === 'from the present one 😀'));
    await until(`${room}: text at the present one`, async () => (await a.texts()).some(entry => entry.text === 'from the newcomer'));
    const types = async client => [...new Set((await client.frames()).map(frame => frame.type))];
    result.pairs.push({ room, present: await types(a), newcomer: await types(b), lists: [(await a.frames())[0].peerIds.length, (await b.frames())[0].peerIds.length] });
    await b.leave();
    await until(`${room}: the end of the link`, async () => (await a.peers()).length === 0);
    // nobody is there any more
    const gone = (await a.texts())[0].from;
    const before = (await a.frames()).length;
    // said again and again: the server may hear of the end later than the other peer
    const error = await until(`${room}: an error`, async () => {
      await a.say({ action: 'forward-offer', toPeerId: gone, offer: { type: 'offer', sdp: 'v=0' } });
      return (await a.frames())[before];
    });
    result.pairs.at(-1).toNobody = error.message;
  }
  // three, of both variants
  const three = [];
  for (const variant of ['document', 'branch', 'document']) three.push(await enter(open, variant, 'three'));
  for (const client of three) await until('a mesh of three', async () => (await client.peers()).length === 2);
  for (const [index, client] of three.entries()) await client.sendText(`number ${index}`);
  for (const [index, client] of three.entries()) {
    const texts = await until('two texts', async () => (await client.texts()).length === 2 && client.texts());
    if (texts.some(entry => entry.text === `number ${index}`)) throw new Error(`an own text came back: ${JSON.stringify(texts)}`);
  }
  for (const client of [...everyone, ...three]) {
    const errors = await client.errors();
    if (errors.length > 0) throw new Error(errors.join('; '));
  }
  return result;
});
