// netflux 4.3.1, its browser bundle, in a page.
import { pageClient } from './page_client.mjs';

/**
 * Joins the group `key` by the signalling server `url` (ws://host:port, with or without a prefix), and waits until it has JOINED. With
 * `unreachable` no connection of its comes up, so that it does not, and nobody waits.
 */
export const connect = (open, { page, url, key, autoRejoin = true, unreachable = false }) =>
  pageClient(open, { page, bundles: ['netflux/dist/netflux.browser.es5.umd.js'], start, options: { url, key, autoRejoin, unreachable } });

/** Runs in the page. */
async function start({ url, key, autoRejoin, unreachable }, env) {
  // the library's numbers, as words
  const GROUP = ['JOINING', 'JOINED', 'LEFT'];
  const SIGNALLING = ['CONNECTING', 'OPEN', 'CHECKING', 'CLOSED', 'CHECKED'];
  const group = new env.netflux.WebGroup({ signalingServer: url, rtcConfiguration: { iceServers: [], iceTransportPolicy: unreachable ? 'relay' : 'all' }, autoRejoin });
  const states = [GROUP[group.state]];
  const signalling = [SIGNALLING[group.signalingState]];
  const events = [];
  const texts = [];
  group.onStateChange = state => states.push(GROUP[state]);
  group.onSignalingStateChange = state => signalling.push(SIGNALLING[state]);
  group.onMemberJoin = id => events.push({ joined: id });
  group.onMemberLeave = id => events.push({ left: id });
  group.onMessage = (from, data) => {
    const bytes = typeof data === 'string' ? undefined : data.length;
    texts.push({ from, text: bytes === undefined ? data : undefined, bytes, sum: bytes && data.reduce((sum, byte) => (sum * 31 + byte) >>> 0, 7) });
  };
  group.join(key);
  if (!unreachable) await env.until('JOINED', () => states.includes('JOINED'));
  return {
    id: () => group.myId,
    peers: () => group.members.filter(id => id !== group.myId),
    group: () => GROUP[group.state],
    signallingState: () => SIGNALLING[group.signalingState],
    groupStates: () => states,
    signallingStates: () => signalling,
    events: () => events,
    /** Text to all, or to one. */
    sendText(text, to) { if (to === undefined || to === null) group.send(text); else group.sendTo(to, text); },
    /** Bytes of a known pattern to all; gives what the others must see of them. */
    sendBytes(size) {
      const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8)) & 255);
      group.send(bytes);
      return { bytes: size, sum: bytes.reduce((sum, byte) => (sum * 31 + byte) >>> 0, 7) };
    },
    texts: () => texts,
    media: () => env.media(),
    states: () => env.states(),
    leave() { group.leave(); },
  };
}
