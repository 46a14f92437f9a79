// Pure parts of the page: the room, the list, the address, the layout.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arrange } from '../../src/http/ui/layout.js';
import { byRole } from '../../src/http/ui/devices.js';
import { connection, device, list, problem, tile } from '../../src/http/ui/messages.js';
import { absentSourcesOf, apply, bridgesOf, nothing, peopleIn, streamsOf, watchersOf } from '../../src/http/ui/room.js';
import { pictured } from '../../src/http/ui/previews.js';
import { summary } from '../../src/http/ui/rooms.js';
import { addressOf, choice, parseAddress } from '../../src/http/ui/settings.js';
import { initials } from '../../src/http/ui/tiles.js';

const member = (id, dialect, streams = [], more = {}) => ({ id, name: id, dialect, streams, audioMuted: false, videoMuted: false, ...more });
const stream = (name, ...kinds) => ({ name, kinds });
const told = (...messages) => messages.reduce(apply, nothing());
const welcome = (...members) => ({ type: 'welcome', member: 'me', room: 'main', size: members.length + 1, members, iceServers: [{ urls: ['stun:s:1'] }] });

test('the welcome is the whole state', () => {
  const state = told(welcome(member('ann', 'page', [stream('main', 'audio')]), member('cam', 'source', [stream('cam', 'audio', 'video')])));
  assert.equal(state.me, 'me');
  assert.deepEqual(state.iceServers, [{ urls: ['stun:s:1'] }]);
  assert.deepEqual(streamsOf(state).map(row => row.key), ['cam/cam', 'ann/main'], 'sources come first');
  assert.equal(peopleIn(state), 2);
  assert.equal(apply(state, welcome()).members.size, 0, 'a second welcome forgets the first');
});

test('members and streams come, change and go', () => {
  let state = told(welcome(), { type: 'joined', member: member('ann', 'page'), size: 2 });
  assert.deepEqual(watchersOf(state).map(row => row.name), ['ann']);
  state = apply(state, { type: 'stream-up', member: 'ann', stream: stream('main', 'audio') });
  state = apply(state, { type: 'stream-up', member: 'ann', stream: stream('main', 'audio', 'video') });
  assert.deepEqual(streamsOf(state).map(row => row.kinds), [['audio', 'video']], 'a stream that comes again replaces itself');
  state = apply(state, { type: 'changed', member: member('ann', 'page', [stream('main', 'audio', 'video')], { audioMuted: true }) });
  assert.equal(streamsOf(state)[0].audioMuted, true);
  state = apply(state, { type: 'stream-down', member: 'ann', stream: 'main' });
  assert.equal(streamsOf(state).length, 0);
  state = apply(state, { type: 'left', member: 'ann', size: 1, reason: 'left' });
  assert.equal(state.members.size, 0);
  assert.equal(state.size, 1);
});

test('what is unknown or about oneself changes nothing', () => {
  const state = told(welcome());
  for (const message of [
    { type: 'news' },
    { type: 'stream-up', member: 'nobody', stream: stream('main', 'audio') },
    { type: 'stream-down', member: 'nobody', stream: 'main' },
    { type: 'changed', member: member('me', 'page') },
  ]) assert.deepEqual(apply(state, message), state);
});

test('states are not changed in place', () => {
  const state = Object.freeze(told(welcome(member('ann', 'page'))));
  apply(state, { type: 'left', member: 'ann', size: 1, reason: 'left' });
  apply(state, { type: 'stream-up', member: 'ann', stream: stream('main', 'audio') });
  assert.deepEqual([...state.members.keys()], ['ann']);
  assert.deepEqual(state.members.get('ann').streams, []);
});

test('a source without a stream is absent, not a person', () => {
  const state = told(welcome(member('cam', 'source')));
  assert.deepEqual(absentSourcesOf(state).map(row => row.name), ['cam']);
  assert.deepEqual(watchersOf(state), []);
  assert.equal(peopleIn(state), 1);
});

test('a bridge is named and counts as nobody', () => {
  const state = told(welcome(member('out', 'bridge'), member('in', 'bridge', [stream('cam', 'video')])));
  assert.deepEqual(bridgesOf(state).map(row => row.name), ['out']);
  assert.deepEqual(watchersOf(state), []);
  assert.equal(peopleIn(state), 1);
  assert.deepEqual(streamsOf(state).map(row => row.key), ['in/cam']);
});

test('whom a bridge brought is somebody', () => {
  const state = told(welcome(member('way', 'bridge'), { ...member('bob', 'bridge'), via: 'way' }));
  assert.deepEqual(bridgesOf(state).map(row => row.name), ['way']);
  assert.deepEqual(watchersOf(state).map(row => row.name), ['bob']);
  assert.equal(peopleIn(state), 2);
});

test('a card counts people, sources and players apart', () => {
  const row = (dialect, more) => ({ id: dialect, user_id: 'u', dialect, visible: true, lost: false, streams: [], peers: [], ...more });
  const card = summary({ room: 'main', max_members: 3, members: [
    row('source', { user_id: 'cam', streams: [{}] }), row('page', { name: 'Ann' }), row('tribe', { lost: true }), row('whep', { visible: false }),
  ] });
  assert.deepEqual(card.sources, [{ name: 'cam', live: true }]);
  assert.deepEqual(card.people, [{ name: 'Ann', live: false, lost: false }, { name: 'u', live: false, lost: true }]);
  assert.equal(card.players, 1);
  assert.equal(card.full, true);
  assert.equal(card.picture, null);
});

test('a card shows the first source, else the first member with a picture', () => {
  const person = { id: 'a1', dialect: 'page', streams: [stream('main', 'audio', 'video')] };
  const silent = { id: 'b2', dialect: 'page', streams: [stream('main', 'audio')] };
  const camera = { id: 'c3', dialect: 'source', streams: [stream('a/b', 'video')] };
  const of = (...members) => pictured({ room: 'hall way', members });
  assert.equal(of(silent), null);
  assert.equal(of(silent, person), '/api/v1/rooms/hall%20way/streams/main/snapshot.jpg?member=a1&width=320');
  assert.equal(of(person, camera), '/api/v1/rooms/hall%20way/streams/a%2Fb/snapshot.jpg?member=c3&width=320');
});

test('addresses hold the room, never the token', () => {
  assert.deepEqual(parseAddress({ search: '?room=a%20b&token=t', hash: '' }), { room: 'a b', token: 't' });
  assert.deepEqual(parseAddress({ search: '?room=a', hash: '#room=b&token=t' }), { room: 'b', token: 't' });
  assert.deepEqual(parseAddress({ search: '', hash: '' }), { room: '', token: '' });
  const odd = 'ö/&#?= %';
  assert.equal(parseAddress({ search: '', hash: new URL(addressOf(odd), 'http://x').hash }).room, odd);
  assert.equal(addressOf(''), '/');
});

test('choices last without storage', () => {
  assert.equal(choice('sound'), '');
  choice('sound', 'on');
  assert.equal(choice('sound'), 'on');
  choice('sound', '');
  assert.equal(choice('sound'), '');
});

test('tiles fill the stage and never overflow it sideways', () => {
  assert.deepEqual(arrange(1, 1600, 900), { columns: 1, tile: 1600 });
  assert.equal(arrange(2, 1600, 450, { gap: 0 }).columns, 2);
  assert.equal(arrange(2, 390, 800).columns, 1, 'a phone stacks');
  for (let count = 1; count <= 40; count += 1) {
    for (const [width, height] of [[320, 480], [390, 844], [1280, 620], [2560, 1300], [700, 200]]) {
      const { columns, tile } = arrange(count, width, height);
      assert.ok(columns * tile + (columns - 1) * 12 <= width, `${count} in ${width}×${height}`);
      assert.ok(tile >= Math.min(260, width) - 1, `${count} in ${width}×${height}: ${tile}`);
    }
  }
  assert.equal(arrange(0, 100, 100).columns, 1);
  assert.equal(arrange(3, 0, 0).tile, 0);
});

test('every refusal and every device error has words of its own', () => {
  const codes = ['room_full', 'unauthorised', 'forbidden', 'unknown_room', 'too_many_rooms', 'wrong_topology', 'stopping', 'evicted', 'replaced', 'expired', 'left'];
  const titles = codes.map(code => problem({ code }, { room: 'main' }).title);
  assert.equal(new Set(titles).size, codes.length);
  assert.equal(problem({ code: 'internal', message: 'no port' }).detail, 'No port.');
  assert.ok(problem({ code: 'unauthorised' }).token);
  const errors = ['InsecurePage', 'NotAllowedError', 'NotFoundError', 'NotReadableError'].map(name => device({ name }, { host: 'h:8780', room: 'a b' }));
  assert.equal(new Set(errors.map(error => error.title)).size, errors.length);
  assert.equal(errors[0].link, 'https://h:8780/#room=a%20b');
  assert.match(device({ name: 'NotFoundError' }, { kind: 'video' }).title, /camera/);
  assert.equal(list(401).token, true);
  assert.equal(connection('in'), null);
  assert.match(connection('waiting', { seconds: 3 }), /3 s/);
  assert.match(connection('waiting', { problem: { reason: 'stopping' }, seconds: 0 }), /restarting/);
  assert.equal(new Set(['source_failed', 'overloaded', 'no_common_codec'].map(tile)).size, 3);
});

test('initials stand for any name', () => {
  assert.equal(initials('Anna Maria Schmidt'), 'AS');
  assert.equal(initials('ben'), 'B');
  assert.equal(initials('  '), '?');
  assert.equal(initials('😀 x'), '😀X');
});

test('devices without an id are not offered', () => {
  const roles = byRole([
    { kind: 'videoinput', deviceId: '', label: '' },
    { kind: 'audioinput', deviceId: 'a', label: '' },
    { kind: 'audiooutput', deviceId: 'b', label: 'Room' },
    { kind: 'other', deviceId: 'c', label: 'x' },
  ]);
  assert.deepEqual(roles, { camera: [], microphone: [{ id: 'a', label: 'Microphone 1' }], speaker: [{ id: 'b', label: 'Room' }] });
});
