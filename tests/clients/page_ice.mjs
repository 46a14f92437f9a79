// A connection that fails while the websocket lives: ICE starts again on the same connection and the picture goes on. argv: base
import { withBrowser } from './browser.mjs';
import { LIMIT, join, playing } from './page.mjs';

const [base] = process.argv.slice(2);

/** Keeps every connection of the page in `window.connections`. */
const collect = () => {
  window.connections = [];
  const Real = RTCPeerConnection;
  window.RTCPeerConnection = class extends Real {
    constructor(...args) {
      super(...args);
      window.connections.push(this);
    }
  };
};

/** Makes every connection say that it failed, as it does when the network changes. */
const fail = () => {
  for (const pc of window.connections.filter(one => one.connectionState === 'connected')) {
    Object.defineProperty(pc, 'iceConnectionState', { value: 'failed', configurable: true });
    pc.dispatchEvent(new Event('iceconnectionstatechange'));
    delete pc.iceConnectionState;
  }
};

/** User fragments of both sides of every connection. */
const ufrags = () => window.connections.filter(pc => pc.signalingState !== 'closed')
  .flatMap(pc => [pc.localDescription, pc.remoteDescription].map(side => /ice-ufrag:(\S+)/.exec(side.sdp)?.[1]));

await withBrowser(async open => {
  const visitor = async name => {
    const page = await open('about:blank');
    await page.addInitScript(collect);
    await page.goto(`${base}/#room=main`);
    await playing(page, 'test');
    await join(page, name);
    return page;
  };
  const anna = await visitor('Anna');
  const ben = await visitor('Ben');
  await playing(ben, 'Anna');
  await playing(anna, 'Ben');
  const before = await anna.evaluate(ufrags);
  await anna.evaluate(fail);
  const renewed = old => window.connections.filter(pc => pc.signalingState !== 'closed')
    .every(pc => pc.signalingState === 'stable'
      && [pc.localDescription, pc.remoteDescription].every(side => !old.includes(/ice-ufrag:(\S+)/.exec(side.sdp)?.[1])));
  await anna.waitForFunction(renewed, before, { timeout: LIMIT });
  const after = await anna.evaluate(ufrags);
  for (const [page, name] of [[anna, 'test'], [anna, 'Ben'], [ben, 'Anna']]) {
    const { frames } = await playing(page, name);
    await playing(page, name, { frames: frames + 60 });
  }
  return { before, after, connections: await anna.evaluate(() => window.connections.map(pc => pc.connectionState).filter(state => state !== 'closed')) };
});
