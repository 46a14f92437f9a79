// node relay.mjs BASE ROOM: one browser publishes and another plays, both by nothing but the relay that the gateway tells of.
import { withBrowser } from './browser.mjs';
import { iceServers as serversOf } from './lib/ice.mjs';

const [base, room] = process.argv.slice(2);

await withBrowser(async open => {
  const iceServers = await serversOf(`${base}/whip/${room}`);
  const ice = { iceServers, iceTransportPolicy: 'relay' };
  const publisher = await open(`${base}/healthz`);
  await publisher.evaluate(([room, ice]) => t.publish('p', `/whip/${room}`, { codec: 'H264', ice }), [room, ice]);
  await publisher.evaluate(() => t.sent('p'));
  const viewer = await open(`${base}/healthz`);
  await viewer.evaluate(([room, ice]) => t.play('v', `/whep/${room}`, { ice }), [room, ice]);
  const figures = await viewer.evaluate(() => t.watch('v', { frames: 60 }));
  const by = name => t.localCandidate(name);
  const kinds = [await publisher.evaluate(by, 'p'), await viewer.evaluate(by, 'v')];
  // one whose password is wrong is refused by the relay, and no other way is open to it
  const wrong = { ...ice, iceServers: iceServers.map(server => ({ ...server, credential: server.credential && 'guessed' })) };
  const refused = await viewer.evaluate(([room, ice]) => t.play('w', `/whep/${room}`, { ice }).then(() => t.gatheredKinds('w')), [room, wrong]);
  return { iceServers, figures, kinds, refused };
});
