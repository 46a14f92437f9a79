// How long pictures wait before they are shown.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cushion, soften } from '../../src/http/ui/cushion.js';

test('it grows with each freeze and shrinks in calm', () => {
  const cushion = new Cushion();
  const at = (second, freezes) => cushion.next(freezes, second * 1000);
  assert.equal(at(0, 0), null, 'what does not freeze is the browser\'s affair');
  assert.equal(at(1, 2), 400);
  assert.deepEqual([at(2, 3), at(3, 4), at(4, 9)], [600, 800, 800], 'there is an end');
  assert.deepEqual([at(33, 9), at(34, 9), at(63, 9), at(64, 9), at(94, 9)], [800, 600, 600, 400, null]);
  assert.equal(at(95, 1), null, 'a new connection counts from the beginning');
  assert.equal(at(96, 2), 400);
});

test('receivers that know no target are left alone', () => {
  const receivers = [{ jitterBufferTarget: null }, {}];
  soften({ getReceivers: () => receivers }, 400);
  assert.deepEqual(receivers, [{ jitterBufferTarget: 400 }, {}]);
});
