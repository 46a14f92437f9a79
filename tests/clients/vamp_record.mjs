// node vamp_record.mjs URL [VERSION] [VAMP]: two pages; one records its microphone twice in slices of 30 ms, the other puts the slices together:
// the same bytes, and sound that a decoder takes. Both offers and answers carry the microphone.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { connect } from './lib/vamp.mjs';
import { until } from './lib/until.mjs';

const [url, version = '2', vamp = `v${Math.random().toString(36).slice(2)}`] = words;
await withBrowser(async open => {
  const a = await connect(open, { url, vamp, client: Number(version), user: 'u1', audio: true });
  const b = await connect(open, { url, vamp, client: Number(version), user: 'u2', audio: true });
  for (const member of [a, b]) await until('the other', async () => (await member.peers()).length === 1);
  const result = { sent: [], got: [], sounds: [] };
  for (const [index, startTime] of [12.5, 40].entries()) {
    const sent = await a.record(startTime, 3000);
    const got = await until('the whole recording', async () => (await b.clips()).find(clip => clip.head.startTime === startTime && clip.bytes >= sent.bytes));
    if (got.bytes !== sent.bytes || got.digest !== sent.digest || got.head.userId !== 'u1') throw new Error(`sent ${JSON.stringify(sent)}, got ${JSON.stringify(got)}`);
    const sound = await b.decode(index);
    if (!(sound.seconds > 1 && sound.loudest > 0.01)) throw new Error(`no sound: ${JSON.stringify(sound)}`);
    result.sent.push(sent);
    result.got.push(got);
    result.sounds.push(sound);
  }
  result.live = await until('the microphone itself', async () => (await b.media()).find(track => track.kind === 'audio' && track.audioEnergy > 0));
  await a.leave();
  await until('the leave', async () => (await b.peers()).length === 0);
  result.events = { a: await a.events(), b: await b.events() };
  return result;
});
