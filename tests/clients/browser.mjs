// Headless Chromium for tests: one launch, a few helpers that run inside pages.
// A script prints one JSON object on its last line; the Rust test reads it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
  '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
];

/** What a scenario may take, in milliseconds: less than what the harness waits, so that it says what it hangs on. */
const LIMIT = 600_000;

/** What each page has come to; a page that does not answer is said to be silent. */
const standOf = pages => Promise.all(pages.map(page => Promise.race([
  page.evaluate(() => t.stand()).catch(error => String(error)),
  new Promise(done => setTimeout(done, 5000, 'silent')),
])));

/** Runs `scenario(open)` with a browser; `open(url, options)` gives a page in a context of its own. */
export async function withBrowser(scenario, { flags = [], ...contextOptions } = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'portico-chromium-'));
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: [...FLAGS, ...flags] });
  const [logs, pages] = [[], []];
  const late = setTimeout(async () => {
    const stand = await standOf(pages);
    console.log(JSON.stringify({ ok: false, error: `not done after ${LIMIT / 1000} s`, stand, logs: logs.slice(-30) }));
    process.exit(1);
  }, LIMIT);
  try {
    const open = async (url, options = {}) => {
      const context = await browser.newContext({ ...contextOptions, ...options });
      const page = await context.newPage();
      pages.push(page);
      page.on('console', message => logs.push(message.text()));
      page.on('pageerror', error => logs.push(`page error: ${error.message}`));
      await page.goto(url);
      await page.evaluate(inPage);
      return page;
    };
    const result = await scenario(open);
    console.log(JSON.stringify({ ok: true, ...result }));
  } catch (error) {
    console.log(JSON.stringify({ ok: false, error: String(error.stack ?? error), logs: logs.slice(-30) }));
    process.exitCode = 1;
  } finally {
    // a browser that does not close is killed at the end of this process
    await Promise.race([browser.close(), new Promise(done => setTimeout(done, 20_000))]);
    clearTimeout(late);
    rmSync(dir, { recursive: true, force: true });
    process.exit();
  }
}

/** Defines `window.t` in the page: WHEP, WHIP, statistics, looking at pictures. Runs in the browser. */
function inPage() {
  const pcs = new Map();
  const sleep = ms => new Promise(done => setTimeout(done, ms));
  const gathered = pc => new Promise(done => {
    if (pc.iceGatheringState === 'complete') return done();
    pc.addEventListener('icegatheringstatechange', () => pc.iceGatheringState === 'complete' && done());
    setTimeout(done, 2000);
  });
  /** What a network leaves that lets no UDP through. */
  const withoutUdp = sdp => sdp.split('\r\n').filter(line => !(line.startsWith('a=candidate:') && line.split(' ')[2] === 'udp')).join('\r\n');
  /** A description that leads to `port` of loopback alone; an own one, without a port, leads nowhere. */
  const ledTo = (sdp, port) => sdp.split('\r\n').flatMap(line => {
    if (!line.startsWith('a=candidate:')) return [line];
    const words = line.split(' ');
    if (!port || words[2].toLowerCase() !== 'udp' || words[4] !== '127.0.0.1') return [];
    words[5] = port;
    return [words.join(' ')];
  }).join('\r\n');
  async function exchange(pc, url, token, tcp, by) {
    await pc.setLocalDescription(await pc.createOffer());
    await gathered(pc);
    const headers = { 'Content-Type': 'application/sdp' };
    if (token) headers.Authorization = `Bearer ${token}`;
    const own = pc.localDescription.sdp;
    const ask = () => fetch(url, { method: 'POST', headers, body: tcp ? withoutUdp(own) : by ? ledTo(own) : own });
    let response = await ask();
    let body = await response.text();
    // a publisher that was answered just now is not connected yet
    for (let i = 0; i < 300 && response.status === 409 && body.includes('unknown_stream'); i++) {
      await sleep(100);
      response = await ask();
      body = await response.text();
    }
    if (response.status !== 201) throw new Error(`${url}: ${response.status} ${body}`);
    const port = by && await window[by](Number(/^a=candidate:\S+ 1 udp \d+ 127\.0\.0\.1 (\d+)/m.exec(body)[1]));
    await pc.setRemoteDescription({ type: 'answer', sdp: tcp ? withoutUdp(body) : by ? ledTo(body, port) : body });
    return new URL(response.headers.get('Location'), new URL(url, location.href)).href;
  }
  const stat = async (pc, type, kind) => [...(await pc.getStats()).values()].find(s => s.type === type && (!kind || s.kind === kind));
  window.t = {
    sleep,
    /** What the connections have come to. */
    stand: () => [...pcs].map(([name, { pc, resource }]) => ({ name, ice: pc.iceConnectionState, state: pc.connectionState, signalling: pc.signalingState, resource })),
    /** The kind of the own candidate that is in use. */
    async localCandidate(name) {
      const { pc } = pcs.get(name);
      const stats = await pc.getStats();
      return stats.get(stats.get((await stat(pc, 'transport')).selectedCandidatePairId)?.localCandidateId)?.candidateType;
    },
    /** Looks at the time between pictures from now on. */
    async meterGaps(name) {
      const entry = pcs.get(name);
      Object.assign(entry, { longest: 0, last: performance.now() });
      const look = now => {
        Object.assign(entry, { longest: Math.max(entry.longest, now - entry.last), last: now });
        entry.element.requestVideoFrameCallback(look);
      };
      entry.element.requestVideoFrameCallback(look);
    },
    /** The longest time without a new picture since then, in ms, the present one included. */
    longestGap: name => Math.max(pcs.get(name).longest, performance.now() - pcs.get(name).last),
    /** The far end's address of the pair that this side chose. */
    async remoteAddress(name) {
      const { pc } = pcs.get(name);
      const stats = await pc.getStats();
      return stats.get(stats.get((await stat(pc, 'transport')).selectedCandidatePairId)?.remoteCandidateId)?.address;
    },
    /** Kinds of all own candidates. */
    gatheredKinds: name => [...pcs.get(name).pc.localDescription.sdp.matchAll(/^a=candidate:.* typ (\w+)/gm)].map(match => match[1]),
    /** Plays a WHEP address in a new <video>; resolves when answered. */
    async play(name, url, { token, codec, tcp, by, ice } = {}) {
      const pc = new RTCPeerConnection(ice);
      const video = pc.addTransceiver('video', { direction: 'recvonly' });
      pc.addTransceiver('audio', { direction: 'recvonly' });
      if (codec) {
        const all = RTCRtpReceiver.getCapabilities('video').codecs;
        video.setCodecPreferences(all.filter(c => c.mimeType.toLowerCase() === `video/${codec}`.toLowerCase() || c.mimeType === 'video/rtx'));
      }
      const element = document.createElement('video');
      // not muted: a muted element takes no sound from the connection, and none would be counted
      Object.assign(element, { autoplay: true, playsInline: true });
      element.srcObject = new MediaStream();
      pc.ontrack = e => element.srcObject.addTrack(e.track);
      document.body.append(element);
      const started = performance.now();
      const entry = { pc, element, firstFrame: null };
      element.requestVideoFrameCallback(() => { entry.firstFrame = performance.now() - started; });
      pcs.set(name, entry);
      entry.resource = await exchange(pc, url, token, tcp, by);
      entry.answered = performance.now() - started;
    },
    /** Publishes the fake camera and microphone by WHIP; `encodings` are the picture's `sendEncodings`, `size` its width and height.
     *  `window[by](port)` gives a port that leads to the gateway's. */
    async publish(name, url, { token, codec, tcp, by, video = true, audio = true, encodings, size = [640, 360], ice } = {}) {
      const [width, height] = size;
      const stream = await navigator.mediaDevices.getUserMedia({ video: video && { width, height }, audio });
      const pc = new RTCPeerConnection(ice);
      for (const track of stream.getTracks()) {
        const several = encodings && track.kind === 'video' ? { sendEncodings: encodings } : {};
        const transceiver = pc.addTransceiver(track, { direction: 'sendonly', streams: [stream], ...several });
        if (codec && track.kind === 'video') {
          // of several sizes the lost packets are sent again by streams of their own
          const wanted = c => c.mimeType.toLowerCase() === `video/${codec}`.toLowerCase() || (encodings && c.mimeType === 'video/rtx');
          transceiver.setCodecPreferences(RTCRtpSender.getCapabilities('video').codecs.filter(wanted));
        }
      }
      pcs.set(name, { pc, stream });
      pcs.get(name).resource = await exchange(pc, url, token, tcp, by);
    },
    /** Restarts ICE by PATCH; gives both user fragments of either side, and whether the restarted pair came to be. */
    async restart(name) {
      const { pc, resource } = pcs.get(name);
      const lines = (sdp, pattern) => sdp.split(/\r?\n/).filter(line => pattern.test(line));
      const ufrag = sdp => lines(sdp, /^a=ice-ufrag:/)[0];
      const old = { local: pc.localDescription.sdp, remote: pc.remoteDescription.sdp };
      await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
      await gathered(pc);
      const local = pc.localDescription.sdp;
      const [first] = local.split(/(?=^m=)/m).slice(1);
      const body = [...lines(first, /^a=ice-(ufrag|pwd):/), ...lines(first, /^(m=|a=mid:|a=candidate:)/), ''].join('\r\n');
      const headers = { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*' };
      const response = await fetch(resource, { method: 'PATCH', headers, body });
      const fragment = await response.text();
      if (response.status !== 200) throw new Error(`PATCH: ${response.status} ${fragment}`);
      const value = pattern => lines(fragment, pattern)[0];
      const remote = old.remote.replace(/^a=ice-ufrag:.*$/gm, value(/^a=ice-ufrag:/)).replace(/^a=ice-pwd:.*$/gm, value(/^a=ice-pwd:/));
      await pc.setRemoteDescription({ type: 'answer', sdp: remote });
      // the pair in use is one of the new fragment
      let used;
      for (let i = 0; i < 100 && `a=ice-ufrag:${used}` !== ufrag(local); i++) {
        await sleep(100);
        const stats = await pc.getStats();
        used = stats.get(stats.get((await stat(pc, 'transport')).selectedCandidatePairId)?.localCandidateId)?.usernameFragment;
      }
      return {
        local: [ufrag(old.local), ufrag(local)], remote: [ufrag(old.remote), ufrag(remote)], used: `a=ice-ufrag:${used}`,
        tag: response.headers.get('ETag'), state: pc.connectionState,
      };
    },
    /** Ends a WHIP or WHEP session properly. */
    async end(name) {
      const { pc, resource, stream } = pcs.get(name);
      const response = await fetch(resource, { method: 'DELETE' });
      pc.close();
      stream?.getTracks().forEach(track => track.stop());
      return response.status;
    },
    /** Has the far end end a session; gives the state that DTLS comes to by its goodbye alone, well before silence would tell. */
    async dismissed(name) {
      const { pc, resource } = pcs.get(name);
      const { transport } = pc.getReceivers()[0];
      const state = new Promise(resolve => {
        transport.onstatechange = () => transport.state === 'closed' && resolve('closed');
        setTimeout(() => resolve(transport.state), 8000);
      });
      await fetch(resource, { method: 'DELETE' });
      return state;
    },
    /** Size of the picture that plays, in pixels, and what of it was lost. */
    async picture(name) {
      const video = await stat(pcs.get(name).pc, 'inbound-rtp', 'video');
      return { width: video?.frameWidth ?? 0, height: video?.frameHeight ?? 0, lost: video?.packetsLost ?? 0, frames: video?.framesDecoded ?? 0 };
    },
    /** Waits until `frames` more video frames were decoded; gives the figures, or says what is missing after the limit. */
    async watch(name, { frames = 100, limit = 90000, audio = true } = {}) {
      const { pc, element } = pcs.get(name);
      const start = performance.now();
      const first = (await stat(pc, 'inbound-rtp', 'video'))?.framesDecoded ?? 0;
      let video, sound;
      for (;;) {
        video = await stat(pc, 'inbound-rtp', 'video');
        sound = await stat(pc, 'inbound-rtp', 'audio');
        const enough = (video?.framesDecoded ?? 0) - first >= frames && (!audio || (sound?.totalAudioEnergy ?? 0) > 0);
        if (enough || performance.now() - start > limit) break;
        await sleep(100);
      }
      const transport = await stat(pc, 'transport');
      const codec = video && (await pc.getStats()).get(video.codecId);
      return {
        state: pc.connectionState, framesDecoded: video?.framesDecoded ?? 0, keyFrames: video?.keyFramesDecoded, freezes: video?.freezeCount,
        packetsLost: video?.packetsLost, nacks: video?.nackCount, plis: video?.pliCount, width: element?.videoWidth, height: element?.videoHeight,
        codec: codec?.mimeType, audioEnergy: sound?.totalAudioEnergy ?? 0, audioPackets: sound?.packetsReceived ?? 0, srtp: transport?.srtpCipher,
        firstFrameMs: pcs.get(name).firstFrame, answeredMs: pcs.get(name).answered, connected: pc.connectionState,
      };
    },
    /** From now on pictures wait before they are shown as the built-in page has them wait, by its own code. */
    async cushion(name) {
      const { Cushion, soften } = await import('/cushion.js');
      const { pc } = pcs.get(name);
      const cushion = new Cushion();
      setInterval(async () => {
        if (pc.connectionState === 'connected') soften(pc, cushion.next((await stat(pc, 'inbound-rtp', 'video'))?.freezeCount ?? 0, performance.now()));
      }, 1000);
    },
    /** How much of the next so many ms the picture stands still, in parts of that time: `totalFreezesDuration` of the W3C's statistics. With it what was
     *  decoded, lost, asked for and sent again. */
    async standstill(name, time) {
      const { pc } = pcs.get(name);
      const look = async () => {
        const video = await stat(pc, 'inbound-rtp', 'video');
        return {
          at: performance.now(), frozen: video.totalFreezesDuration, freezes: video.freezeCount, frames: video.framesDecoded, lost: video.packetsLost,
          packets: video.packetsReceived, nacks: video.nackCount, plis: video.pliCount, again: video.retransmittedPacketsReceived, fec: video.fecPacketsReceived,
          emitted: video.jitterBufferEmittedCount, delay: video.jitterBufferDelay,
        };
      };
      const before = await look();
      await sleep(time);
      const after = await look();
      const passed = Object.fromEntries(Object.keys(after).map(key => [key, after[key] - before[key]]));
      return { ...passed, part: passed.frozen * 1000 / passed.at };
    },
    /** How the pair in use is carried: what this side says of its own candidate. */
    async carried(name) {
      const { pc } = pcs.get(name);
      const stats = await pc.getStats();
      const transport = [...stats.values()].find(s => s.type === 'transport');
      return stats.get(stats.get(transport.selectedCandidatePairId).localCandidateId).protocol;
    },
    /** Bytes that came by the pair in use. */
    async received(name) {
      const stats = await pcs.get(name).pc.getStats();
      return stats.get([...stats.values()].find(s => s.type === 'transport').selectedCandidatePairId).bytesReceived;
    },
    /** What left this browser. */
    async sent(name, frames = 30) {
      const { pc } = pcs.get(name);
      for (let i = 0; i < 300; i++) {
        const video = await stat(pc, 'outbound-rtp', 'video');
        if ((video?.framesEncoded ?? 0) >= frames) break;
        await sleep(100);
      }
      const video = await stat(pc, 'outbound-rtp', 'video');
      return { framesEncoded: video?.framesEncoded ?? 0, state: pc.connectionState, codec: video && (await pc.getStats()).get(video.codecId)?.mimeType };
    },
    /** Width and height of the picture now. */
    size: name => [pcs.get(name).element.videoWidth, pcs.get(name).element.videoHeight],
    /** Each encoding of the picture that leaves this browser. */
    async outbound(name) {
      const stats = [...(await pcs.get(name).pc.getStats()).values()];
      const encodings = stats.filter(s => s.type === 'outbound-rtp' && s.kind === 'video');
      return encodings.map(s => ({ rid: s.rid, width: s.frameWidth, packets: s.packetsSent, nacks: s.nackCount, plis: s.pliCount, again: s.retransmittedPacketsSent }));
    },
    /** Pixels of a rectangle given in parts of the picture, as a flat array of grey values. */
    pixels(name, { x = 0, y = 0, w = 1, h = 1 } = {}) {
      const { element } = pcs.get(name);
      const canvas = document.createElement('canvas');
      const [sx, sy, sw, sh] = [x * element.videoWidth, y * element.videoHeight, w * element.videoWidth, h * element.videoHeight];
      Object.assign(canvas, { width: 64, height: 36 });
      const context = canvas.getContext('2d');
      context.drawImage(element, sx, sy, sw, sh, 0, 0, 64, 36);
      const data = context.getImageData(0, 0, 64, 36).data;
      return Array.from({ length: 64 * 36 }, (_, i) => Math.round((data[4 * i] + data[4 * i + 1] + data[4 * i + 2]) / 3));
    },
    /** The colour of the middle of the picture: `red`, `green`, `blue`, or `other`. */
    colour(name) {
      const { element } = pcs.get(name);
      const canvas = document.createElement('canvas');
      Object.assign(canvas, { width: 1, height: 1 });
      const context = canvas.getContext('2d');
      context.drawImage(element, element.videoWidth / 4, element.videoHeight / 4, element.videoWidth / 2, element.videoHeight / 2, 0, 0, 1, 1);
      const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
      const most = Math.max(red, green, blue);
      const clear = most > 120 && [red, green, blue].filter(value => value < 90).length === 2;
      return !clear ? 'other' : most === red ? 'red' : most === green ? 'green' : 'blue';
    },
    /** Writes down each new colour of the picture until the list of them is `enough(list)`, or the limit is over. */
    async colours(name, enough, limit = 90000) {
      const seen = [];
      for (const start = performance.now(); performance.now() - start < limit && !enough(seen); await sleep(40)) {
        const now = this.colour(name);
        if (now !== 'other' && now !== seen.at(-1)) seen.push(now);
      }
      return seen;
    },
    state: name => pcs.get(name).pc.connectionState,
  };
}

/** Mean absolute difference of two pictures. */
export const difference = (a, b) => a.reduce((sum, value, i) => sum + Math.abs(value - b[i]), 0) / a.length;
