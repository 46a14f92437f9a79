// The websocket client: when it opens, waits and gives up, with time and sockets made by the test.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Signalling, delay, socketAddress } from '../../src/http/ui/signalling.js';

/** A world in which timers fire when told and sockets do what the test says. */
function world() {
  const state = { sockets: [], timers: new Map(), said: [], next: 1 };
  const signalling = new Signalling({
    url: 'ws://x/page',
    opened: () => state.said.push('opened'),
    message: message => state.said.push(message),
    waiting: ms => state.said.push(ms),
    connect: url => {
      const socket = { url, readyState: 0, sent: [], closed: false, send: text => socket.sent.push(text), close: () => { socket.closed = true; } };
      state.sockets.push(socket);
      return socket;
    },
    setTimer: (run, ms) => { state.timers.set(state.next, { run, ms }); return state.next++; },
    clearTimer: id => state.timers.delete(id),
    random: () => 0.5,
  });
  const fire = () => {
    const [[id, { run }]] = state.timers;
    state.timers.delete(id);
    run();
  };
  const open = () => {
    const socket = state.sockets.at(-1);
    socket.readyState = 1;
    socket.onopen();
    return socket;
  };
  return { ...state, state, signalling, fire, open };
}

test('waits 1, 2, 4, 8, then 15 s, a fifth more or less', () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 99].map(attempt => delay(attempt, () => 0.5)), [1000, 2000, 4000, 8000, 15000, 15000, 15000]);
  assert.equal(delay(0, () => 0), 800);
  assert.equal(delay(4, () => 1), 18000);
});

test('the address follows the page', () => {
  assert.equal(socketAddress({ protocol: 'https:', host: 'a:1' }), 'wss://a:1/page');
  assert.equal(socketAddress({ protocol: 'http:', host: '[::1]:8780' }), 'ws://[::1]:8780/page');
});

test('says and hears JSON; what is not JSON is passed over', () => {
  const { signalling, open, said } = world();
  signalling.start();
  assert.equal(signalling.send({ type: 'early' }), false);
  const socket = open();
  assert.equal(signalling.send({ type: 'join' }), true);
  assert.deepEqual(socket.sent, ['{"type":"join"}']);
  socket.onmessage({ data: '{"type":"welcome"}' });
  socket.onmessage({ data: '<html>' });
  assert.deepEqual(said, ['opened', { type: 'welcome' }]);
});

test('a loss waits longer each time until the gateway works again', () => {
  const { signalling, sockets, fire, open, said } = world();
  signalling.start();
  sockets[0].onclose();
  fire();
  open().onclose(); // opened, but no welcome: not settled
  fire();
  open();
  signalling.settled();
  sockets[2].onclose();
  assert.deepEqual(said, [1000, 'opened', 2000, 'opened', 1000]);
  assert.equal(sockets.length, 3);
});

test('an opening that hangs is given up', () => {
  const { signalling, sockets, timers, fire } = world();
  signalling.start();
  assert.equal([...timers.values()][0].ms, 10000);
  fire();
  assert.ok(sockets[0].closed);
  fire();
  assert.equal(sockets.length, 2);
});

test('a lost socket is heard no more', () => {
  const { signalling, sockets, said, open } = world();
  signalling.start();
  open();
  signalling.lost();
  signalling.lost();
  assert.equal(sockets[0].onmessage, null);
  assert.deepEqual(said, ['opened', 1000], 'told once');
});

test('stopped is stopped', () => {
  const { signalling, sockets, timers } = world();
  signalling.start();
  signalling.stop();
  signalling.lost();
  signalling.retryNow();
  assert.equal(timers.size, 0);
  assert.equal(sockets.length, 1);
});

test('does not wait when told so', () => {
  const { signalling, sockets, timers } = world();
  signalling.start();
  sockets[0].onclose();
  signalling.retryNow();
  signalling.retryNow();
  assert.equal(sockets.length, 2);
  assert.equal(timers.size, 1, 'only the limit of the opening');
});
