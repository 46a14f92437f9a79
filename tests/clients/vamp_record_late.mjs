// node vamp_record_late.mjs URL VAMP [VERSION]: three pages in an `sfu` vamp. One records its microphone in slices of 30 ms; the third comes in the
// middle. It and the one that was there put the same bytes together, and a decoder takes them as sound.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { connect } from './lib/vamp.mjs';
import { until } from './lib/until.mjs';

const [url, vamp, version = '4'] = words;
await withBrowser(async open => {
  const page = options => connect(open, { url, vamp, client: Number(version), ...options });
  const a = await page({ user: 'u1', audio: true });
  const b = await page({ user: 'u2' });
  await until('both', async () => (await a.peers()).length === 1 && (await b.peers()).length === 1);
  const recording = a.record(12.5, 5000);
  await until('a part', async () => (await b.frames()) > 20);
  const c = await page({ user: 'u3' });
  const sent = await recording;
  const result = { sent, got: [], sounds: [] };
  for (const one of [b, c]) {
    const got = await until('the whole recording', async () => (await one.clips()).find(clip => clip.bytes >= sent.bytes));
    const clips = await one.clips();
    if (clips.length !== 1 || got.bytes !== sent.bytes || got.digest !== sent.digest || got.head.userId !== 'u1') throw new Error(`sent ${JSON.stringify(sent)}, got ${JSON.stringify(clips)}`);
    const sound = await one.decode(0);
    if (!(sound.seconds > 1 && sound.loudest > 0.01)) throw new Error(`no sound: ${JSON.stringify(sound)}`);
    result.got.push(got);
    result.sounds.push(sound);
  }
  result.late = (await c.events()).find(event => event['all users']);
  for (const one of [a, b, c]) await one.leave();
  return result;
});
