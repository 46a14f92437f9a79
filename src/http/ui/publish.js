// The visitor's own camera and microphone: asking for them, switching, muting, and handing them to a connection.

import { choice } from './settings.js';

/** Sent at most, in bit/s: a 720p picture is good at that, and a small board forwards it to many. */
const MAX_VIDEO = 2_000_000;

/** From this width on, in pixels, a picture is sent in three sizes, so that each viewer gets the one its line carries. */
const WIDE = 640;

/** Those sizes, in the order in which browsers give them what the own line carries. */
const SIZES = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 600_000 },
  { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: MAX_VIDEO },
];

/** How a picture is sent. A camera that is closed now may be opened later, and is not known then. */
const encodings = track => (track?.getSettings().width >= WIDE ? SIZES : [{ maxBitrate: MAX_VIDEO }]);

/** Why there is no camera: browsers give none to plain pages that do not come from this machine. */
export class InsecurePage extends Error {
  name = 'InsecurePage';
}

const wanted = {
  video: id => ({ width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 }, ...(id ? { deviceId: { exact: id } } : { facingMode: 'user' }) }),
  audio: id => ({ echoCancellation: true, noiseSuppression: true, autoGainControl: true, ...(id ? { deviceId: { exact: id } } : {}) }),
};

/** Asks for devices: kinds by name, each with the id of the chosen device or ''. A choice that is no longer connected is dropped:
 *  `exact` is needed because browsers may pass over an `ideal` one. */
async function ask(kinds) {
  if (!navigator.mediaDevices?.getUserMedia) throw new InsecurePage();
  const constraints = ids => Object.fromEntries(Object.entries(ids).map(([kind, id]) => [kind, wanted[kind](id)]));
  try {
    return await navigator.mediaDevices.getUserMedia(constraints(kinds));
  } catch (error) {
    if (error.name !== 'OverconstrainedError') throw error;
    return navigator.mediaDevices.getUserMedia(constraints(Object.fromEntries(Object.keys(kinds).map(kind => [kind, '']))));
  }
}

/** Errors after which the other half may still be had: no such device, or another program holds it. */
const HALF = new Set(['NotFoundError', 'NotReadableError', 'OverconstrainedError', 'AbortError']);

export class Publisher {
  /** What the own tile shows and the connection sends. */
  stream = new MediaStream();
  audioMuted = false;
  videoMuted = false;
  #senders = {};
  #lost;

  /** `lost(kind)` is called when a device goes away by itself. */
  constructor({ lost }) {
    this.#lost = lost;
  }

  /** Asks for camera and microphone, and takes one of them if the other cannot be had. Gives the error of what is missing, or
   *  null; throws when there is nothing. */
  async start() {
    const both = { video: choice('camera'), audio: choice('microphone') };
    let missing = null;
    let stream;
    try {
      stream = await ask(both);
    } catch (error) {
      if (!HALF.has(error.name)) throw error;
      missing = error;
      stream = await ask({ audio: both.audio }).catch(() => ask({ video: both.video })).catch(() => { throw error; });
    }
    stream.getTracks().forEach(track => this.#take(track));
    return missing && { error: missing, kind: this.track('video') ? 'audio' : 'video' };
  }

  track(kind) {
    return this.stream.getTracks().find(track => track.kind === kind) ?? null;
  }

  /** Whether the connection carries that kind, muted or not. */
  carries(kind) {
    return Boolean(this.#senders[kind]);
  }

  /** Puts the tracks into a new connection. */
  attach(pc) {
    this.#senders = {};
    for (const kind of ['video', 'audio']) {
      const track = this.track(kind);
      if (!track && !(kind === 'video' && this.videoMuted)) continue;
      const encoding = kind === 'video' ? { sendEncodings: encodings(track) } : {};
      this.#senders[kind] = pc.addTransceiver(track ?? kind, { direction: 'sendonly', streams: [this.stream], ...encoding }).sender;
    }
  }

  /** A muted microphone stays open: talking again is instant. */
  muteAudio(muted) {
    this.audioMuted = muted;
    const track = this.track('audio');
    if (track) track.enabled = !muted;
  }

  /** A muted camera is closed, so that its lamp goes out. */
  async muteVideo(muted) {
    if (muted) {
      this.#release('video');
      await this.#senders.video?.replaceTrack(null);
    } else {
      await this.switchTo('video', choice('camera'));
    }
    this.videoMuted = muted;
  }

  /** Takes another device, while live. True when the connection carries it; false when a new connection is needed for it. */
  async switchTo(kind, id) {
    // some phones cannot hold two cameras open: the old one is closed first
    if (kind === 'video') this.#release('video');
    const [track] = (await ask({ [kind]: id })).getTracks();
    this.#release(kind);
    this.#take(track);
    await this.#senders[kind]?.replaceTrack(track);
    return this.carries(kind);
  }

  stop() {
    this.#release('audio');
    this.#release('video');
    this.#senders = {};
    this.audioMuted = this.videoMuted = false;
  }

  #take(track) {
    track.enabled = track.kind !== 'audio' || !this.audioMuted;
    if (track.kind === 'video') track.contentHint = 'motion';
    track.onended = () => {
      this.#release(track.kind);
      this.#lost(track.kind);
    };
    this.stream.addTrack(track);
  }

  #release(kind) {
    const track = this.track(kind);
    if (!track) return;
    track.onended = null;
    track.stop();
    this.stream.removeTrack(track);
  }
}
