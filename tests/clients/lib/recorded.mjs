// What every client notes of WebRTC, in a page and in Node: its connections, the kinds of frames on its channels, the media it gets.
// `recorded` is sent to pages as source text: it uses nothing from outside itself.

/**
 * `recorded(env)` takes `RTCPeerConnection` from `env` (a page's `window`, or the classes of a WebRTC library) and gives
 * `{ RTCPeerConnection, media, wire, until, sleep }`: the same class, but noted.
 */
export function recorded(env) {
  const connections = [];
  const wire = { text: 0, binary: 0 };
  const sleep = ms => new Promise(done => setTimeout(done, ms));
  const watch = channel => {
    channel.addEventListener('message', ({ data }) => { wire[typeof data === 'string' ? 'text' : 'binary'] += 1; });
    return channel;
  };
  /** Plays what comes: a stream that no element plays is not decoded, and its sound not counted. */
  const play = stream => {
    if (!env.document || [...env.document.querySelectorAll('video')].some(video => video.srcObject === stream)) return;
    const video = Object.assign(env.document.createElement('video'), { autoplay: true, playsInline: true, srcObject: stream });
    env.document.body.append(video);
  };
  class Recorded extends env.RTCPeerConnection {
    constructor(...given) {
      super(...given);
      connections.push(this);
      this.addEventListener('datachannel', event => watch(event.channel));
      this.addEventListener('track', event => play(event.streams[0] ?? new env.MediaStream([event.track])));
    }
    createDataChannel(...given) {
      return watch(super.createDataChannel(...given));
    }
  }
  return {
    RTCPeerConnection: Recorded,
    wire,
    sleep,
    /** Looks until `look()` gives something true; says `what` is missing after the limit. */
    async until(what, look, limit = 60000) {
      for (const end = Date.now() + limit; Date.now() < end; await sleep(50)) {
        const found = await look();
        if (found) return found;
      }
      throw new Error(`not within ${limit} ms: ${what}`);
    },
    /** One entry per received track of a live connection: `{ kind, framesDecoded, width, height, audioEnergy, packets }`. */
    async media() {
      const tracks = [];
      for (const connection of connections.filter(one => one.connectionState === 'connected')) {
        for (const stat of (await connection.getStats()).values()) {
          if (stat.type !== 'inbound-rtp') continue;
          tracks.push({
            kind: stat.kind, packets: stat.packetsReceived, framesDecoded: stat.framesDecoded ?? 0, width: stat.frameWidth,
            height: stat.frameHeight, audioEnergy: stat.totalAudioEnergy ?? 0,
          });
        }
      }
      return tracks;
    },
    states: () => connections.map(one => one.connectionState),
  };
}
