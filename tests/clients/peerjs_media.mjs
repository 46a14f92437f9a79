// node peerjs_media.mjs BASE PATH KEY: a call with the fake camera both ways; then the caller hangs up.
import { withBrowser } from './browser.mjs';
import { words } from './lib/args.mjs';
import { connect } from './lib/peerjs.mjs';
import { until } from './lib/until.mjs';

const [url, path, key] = words;
await withBrowser(async open => {
  const a = await connect(open, { url, path, key, media: true });
  const b = await connect(open, { url, path, key, media: true });
  await a.call(await b.id());
  const result = {};
  for (const [name, client] of [['a', a], ['b', b]]) {
    result[name] = await until(`picture and sound at ${name}`, async () => {
      const tracks = await client.media();
      const video = tracks.find(track => track.kind === 'video');
      const audio = tracks.find(track => track.kind === 'audio');
      return video?.framesDecoded > 30 && audio?.audioEnergy > 0 && { framesDecoded: video.framesDecoded, audioEnergy: audio.audioEnergy };
    });
  }
  await a.hangUp(await b.id());
  const idA = await a.id();
  await until('the end of the call at the other side', async () => (await b.events()).some(event => event.hungUp === idA));
  result.events = { a: await a.events(), b: await b.events() };
  return result;
});
