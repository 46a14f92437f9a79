// Figures of a connection, computed from what `RTCPeerConnection.getStats()` gives. Pure: two snapshots in, figures out.

/** Figures kept for the plots: one each second, one minute. */
export const KEPT = 60;

/** The few values of a report that figures need. `report` is any iterable of stats objects (`RTCStatsReport.values()`). */
export function snapshot(report) {
  const byId = new Map([...report].map(entry => [entry.id, entry]));
  const all = [...byId.values()];
  const find = (type, kind) => all.find(entry => entry.type === type && entry.kind === kind);
  const transport = all.find(entry => entry.type === 'transport');
  const pair = byId.get(transport?.selectedCandidatePairId)
    ?? all.find(entry => entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded');
  const side = kind => {
    const inbound = find('inbound-rtp', kind);
    // a picture may leave in several sizes: together they cost, the widest is what is shown
    const outbounds = all.filter(entry => entry.type === 'outbound-rtp' && entry.kind === kind);
    const outbound = outbounds.reduce((widest, entry) => ((entry.frameWidth ?? 0) > (widest?.frameWidth ?? -1) ? entry : widest), null);
    const rtp = inbound ?? outbound;
    if (!rtp) return null;
    const remotes = outbound ? all.filter(entry => entry.type === 'remote-inbound-rtp' && entry.kind === kind) : [];
    const remote = remotes.find(entry => entry.localId === outbound.id) ?? remotes[0] ?? null;
    const sum = (entries, field) => entries.reduce((total, entry) => total + (entry[field] ?? 0), 0);
    const source = outbound ? find('media-source', kind) : null;
    return {
      sent: !inbound,
      bytes: inbound ? inbound.bytesReceived ?? 0 : sum(outbounds, 'bytesSent'),
      packets: inbound ? inbound.packetsReceived ?? 0 : sum(outbounds, 'packetsSent'),
      lost: inbound ? inbound.packetsLost ?? 0 : sum(remotes, 'packetsLost'),
      frames: (inbound ? inbound.framesDecoded : outbound.framesEncoded) ?? 0,
      width: rtp.frameWidth ?? 0,
      height: rtp.frameHeight ?? 0,
      freezes: inbound?.freezeCount ?? 0,
      jitter: inbound?.jitter ?? remote?.jitter ?? null,
      energy: inbound?.totalAudioEnergy ?? source?.totalAudioEnergy ?? 0,
      codec: (byId.get(rtp.codecId)?.mimeType ?? '').replace(/^.*\//, ''),
      remoteRtt: remote?.roundTripTime ?? null,
    };
  };
  return {
    at: (transport ?? all[0])?.timestamp ?? 0,
    audio: side('audio'),
    video: side('video'),
    rtt: pair?.currentRoundTripTime ?? null,
  };
}

/** Figures between two snapshots; rates are null in the first one.
 *  `bitrate` bit/s, `frameRate` 1/s, `loss` in percent, `roundTrip` and `jitter` in ms. */
export function figures(before, now) {
  const seconds = before ? (now.at - before.at) / 1000 : 0;
  const rate = (kind, field) => {
    const [old, fresh] = [before?.[kind], now[kind]];
    if (!old || !fresh || seconds <= 0) return null;
    return Math.max(0, fresh[field] - old[field]) / seconds;
  };
  const added = field => ['audio', 'video'].reduce((sum, kind) => sum + (rate(kind, field) ?? 0) * seconds, 0);
  const known = before && seconds > 0;
  const [packets, lost] = known ? [added('packets'), added('lost')] : [0, 0];
  // a receiver counts what arrived, a sender counts what it sent, lost ones included
  const total = now.video?.sent || now.audio?.sent ? packets : packets + lost;
  const rtt = now.rtt ?? now.video?.remoteRtt ?? now.audio?.remoteRtt ?? null;
  const bits = kind => { const bytes = rate(kind, 'bytes'); return bytes === null ? null : bytes * 8; };
  const [videoBitrate, audioBitrate] = [bits('video'), bits('audio')];
  return {
    bitrate: known ? (videoBitrate ?? 0) + (audioBitrate ?? 0) : null,
    videoBitrate,
    audioBitrate,
    frameRate: rate('video', 'frames'),
    loss: known ? (total > 0 ? Math.min(100, (100 * lost) / total) : 0) : null,
    roundTrip: rtt === null ? null : rtt * 1000,
    jitter: now.video?.jitter == null ? null : now.video.jitter * 1000,
    width: now.video?.width ?? 0,
    height: now.video?.height ?? 0,
    frames: now.video?.frames ?? 0,
    freezes: now.video?.freezes ?? 0,
    audioEnergy: now.audio?.energy ?? 0,
    codecs: [now.video?.codec, now.audio?.codec].filter(Boolean),
  };
}

/** Seconds without a new picture after which it counts as standing still. */
const STILL = 5;

/** The last minute of figures of one connection. */
export class History {
  rows = [];
  #last = null;

  /** Takes a report; gives the newest figures. */
  add(report) {
    const now = snapshot(report);
    const row = figures(this.#last, now);
    this.#last = now;
    this.rows.push(row);
    if (this.rows.length > KEPT) this.rows.shift();
    return row;
  }

  get latest() {
    return this.rows.at(-1) ?? null;
  }

  /** Whether pictures came and come no more: the way does not carry them, or their sender stopped. */
  get standsStill() {
    const last = this.rows.slice(-STILL);
    return last.length === STILL && this.latest.frames > 0 && last.every(row => row.frameRate === 0);
  }

  /** One figure over time; unknown values are null. */
  series(name) {
    return this.rows.map(row => row[name]);
  }
}

/** A bit rate for people. */
export function bitrateText(value) {
  if (value === null) return '–';
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} Mbit/s`;
  return `${Math.round(value / 1000)} kbit/s`;
}

/** Any other figure for people. */
export function numberText(value, unit, digits = 0) {
  return value === null ? '–' : `${value.toFixed(digits)} ${unit}`;
}

/** The path by which a source reaches this viewer, out of `/api/v1/sources`; null when nothing is known. */
export function pathOf(sources, name, codecs) {
  const paths = sources.find(row => row.source === name)?.paths ?? [];
  const same = text => codecs.some(codec => codec.toLowerCase() === String(text).toLowerCase());
  return paths.find(path => same(path.codec) && path.codec.toLowerCase() !== 'opus') ?? paths.find(path => same(path.codec)) ?? null;
}
