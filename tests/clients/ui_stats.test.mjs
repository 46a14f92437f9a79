// Figures of a connection and their plots.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { trace } from '../../src/http/ui/plot.js';
import { History, KEPT, bitrateText, figures, numberText, pathOf, snapshot } from '../../src/http/ui/stats.js';

const receiving = (seconds, { bytes, packets, lost, frames }) => [
  { id: 'T', type: 'transport', timestamp: seconds * 1000, selectedCandidatePairId: 'P' },
  { id: 'P', type: 'candidate-pair', currentRoundTripTime: 0.02 },
  { id: 'other', type: 'candidate-pair', currentRoundTripTime: 9 },
  { id: 'C', type: 'codec', mimeType: 'video/H264' },
  { id: 'CA', type: 'codec', mimeType: 'audio/opus' },
  { id: 'V', type: 'inbound-rtp', kind: 'video', codecId: 'C', bytesReceived: bytes, packetsReceived: packets, packetsLost: lost, framesDecoded: frames, frameWidth: 640, frameHeight: 360, freezeCount: 1, jitter: 0.004 },
  { id: 'A', type: 'inbound-rtp', kind: 'audio', codecId: 'CA', bytesReceived: 1000 * seconds, packetsReceived: 50 * seconds, packetsLost: 0, totalAudioEnergy: 0.5 },
];

test('a receiver', () => {
  const history = new History();
  const first = history.add(receiving(1, { bytes: 1000, packets: 100, lost: 0, frames: 30 }));
  assert.deepEqual([first.bitrate, first.frameRate, first.loss], [null, null, null], 'rates need two readings');
  assert.equal(first.roundTrip, 20);
  const row = history.add(receiving(3, { bytes: 251_000, packets: 250, lost: 50, frames: 90 }));
  assert.equal(row.videoBitrate, 1_000_000);
  assert.equal(row.audioBitrate, 8000);
  assert.equal(row.bitrate, 1_008_000);
  assert.equal(row.frameRate, 30);
  assert.equal(row.loss, 100 * 50 / 300, '250 arrived, audio and video, 50 did not');
  assert.deepEqual(row.codecs, ['H264', 'opus']);
  assert.deepEqual([row.width, row.height, row.freezes, row.audioEnergy], [640, 360, 1, 0.5]);
  assert.deepEqual(history.series('frameRate'), [null, 30]);
});

test('a sender hears of loss and round trip from the far end', () => {
  const sending = (seconds, packets, lost) => [
    { id: 'V', type: 'outbound-rtp', kind: 'video', timestamp: seconds * 1000, bytesSent: 0, packetsSent: packets, framesEncoded: 0 },
    { id: 'R', type: 'remote-inbound-rtp', kind: 'video', packetsLost: lost, roundTripTime: 0.1, jitter: 0.01 },
  ];
  const row = figures(snapshot(sending(1, 0, 0)), snapshot(sending(2, 100, 10)));
  assert.equal(row.loss, 10);
  assert.equal(row.roundTrip, 100);
  assert.equal(row.jitter, 10);
  assert.deepEqual(row.codecs, []);
});

test('a sender of several sizes shows the widest and counts all', () => {
  const size = (rid, seconds, width, packets) => [
    { id: `V${rid}`, type: 'outbound-rtp', kind: 'video', rid, timestamp: seconds * 1000, bytesSent: packets * 1000, packetsSent: packets, framesEncoded: 30 * seconds, frameWidth: width },
    { id: `R${rid}`, type: 'remote-inbound-rtp', kind: 'video', localId: `V${rid}`, packetsLost: packets / 10, jitter: width / 1e6 },
  ];
  const sending = seconds => [...size('q', seconds, 320, 100 * seconds), ...size('f', seconds, 1280, 400 * seconds), ...size('h', seconds, undefined, 0)];
  const row = figures(snapshot(sending(1)), snapshot(sending(2)));
  assert.deepEqual([row.width, row.frameRate, row.videoBitrate, row.loss], [1280, 30, 4_000_000, 10]);
  assert.equal(row.jitter, 1.28);
});

test('counters that go back give no negative rate', () => {
  const row = figures(snapshot(receiving(1, { bytes: 9000, packets: 90, lost: 9, frames: 90 })), snapshot(receiving(2, { bytes: 0, packets: 0, lost: 0, frames: 0 })));
  assert.deepEqual([row.videoBitrate, row.frameRate, row.loss], [0, 0, 0]);
});

test('nothing at all', () => {
  const row = figures(snapshot([]), snapshot([]));
  assert.deepEqual([row.bitrate, row.roundTrip, row.width], [null, null, 0]);
});

test('the history keeps a minute', () => {
  const history = new History();
  for (let second = 1; second <= KEPT + 9; second += 1) history.add(receiving(second, { bytes: 0, packets: 0, lost: 0, frames: 30 * second }));
  assert.equal(history.rows.length, KEPT);
  assert.equal(history.latest.frameRate, 30);
});

test('a picture stands still when none came for five seconds, and not before the first', () => {
  const history = new History();
  const add = (second, frames) => { history.add(receiving(second, { bytes: 0, packets: 0, lost: 0, frames })); return history.standsStill; };
  assert.deepEqual([1, 2, 3, 4, 5, 6, 7].map(second => add(second, 0)), Array(7).fill(false), 'nothing came yet');
  assert.equal(add(8, 30), false);
  assert.deepEqual([9, 10, 11, 12, 13].map(second => add(second, 30)), [false, false, false, false, true]);
  assert.equal(add(14, 31), false);
});

test('figures for people', () => {
  assert.equal(bitrateText(null), '–');
  assert.equal(bitrateText(1_250_000), '1.3 Mbit/s');
  assert.equal(bitrateText(64_400), '64 kbit/s');
  assert.equal(numberText(1.25, '%', 1), '1.3 %');
  assert.equal(numberText(null, 'ms'), '–');
});

test('the path of a source is the one of the codec that arrives', () => {
  const sources = [{ source: 'cam', paths: [{ path: 'software', codec: 'opus' }, { path: 'software', codec: 'VP8' }, { path: 'pass', codec: 'H264' }] }];
  assert.equal(pathOf(sources, 'cam', ['H264', 'opus']).path, 'pass');
  assert.equal(pathOf(sources, 'cam', ['VP8', 'opus']).codec, 'VP8');
  assert.equal(pathOf(sources, 'cam', ['opus']).codec, 'opus');
  assert.equal(pathOf(sources, 'cam', ['AV1']), null);
  assert.equal(pathOf(sources, 'none', ['H264']), null);
});

test('a plot scales to its top, ends at the right and breaks at gaps', () => {
  assert.deepEqual(trace([0, 30], 3, 30), [[[0.5, 1], [1, 0]]]);
  assert.deepEqual(trace([60, 30], 2, 30), [[[0, 0], [1, 0.5]]]);
  assert.deepEqual(trace([1, null, 1], 3, 1), [[[0, 0]], [[1, 0]]]);
  assert.deepEqual(trace([null, null], 60, 1), []);
});
