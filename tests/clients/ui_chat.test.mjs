// What the page keeps of what was said.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChatLog, MOST, isData } from '../../src/http/ui/chat.js';
import { unsaid } from '../../src/http/ui/messages.js';

const ben = (text, more = {}) => ({ member: 'ben', name: 'Ben', text, ...more });

test('messages of one member that come together have one head', () => {
  const log = new ChatLog();
  log.said(ben('hi'), 0);
  log.said(ben('again'), 60_000);
  log.say('s1', 'hello', 61_000);
  log.said(ben('and now'), 62_000);
  log.said(ben('later'), 62_000 + 120_000);
  assert.deepEqual(log.entries.map(entry => entry.follows), [false, true, false, false, false]);
  assert.deepEqual(log.entries.map(entry => entry.own), [false, false, true, false, false]);
});

test('the list is bounded, and its first message has a head', () => {
  const log = new ChatLog();
  for (let n = 0; n < MOST + 50; n += 1) log.said(ben(`m${n}`), n);
  assert.equal(log.entries.length, MOST);
  assert.equal(log.entries[0].text, 'm50');
  assert.equal(log.entries[0].follows, false);
  assert.equal(log.entries[1].follows, true);
  log.clear();
  assert.equal(log.entries.length, 0);
});

test('what the visitor says waits for the word of the gateway', () => {
  const log = new ChatLog();
  log.say('s1', 'one', 0);
  log.say('s2', 'two', 1);
  log.say('s3', 'three', 2);
  assert.equal(log.settle('s1').problem, null);
  assert.equal(log.settle('s2', 'Not sent').problem, 'Not sent');
  assert.equal(log.settle('s2'), null, 'once');
  assert.equal(log.settle('s9'), null);
  assert.deepEqual(log.giveUp('lost').map(entry => entry.text), ['three']);
  assert.deepEqual(log.entries.map(({ waiting, problem }) => [waiting, problem]), [[false, null], [false, 'Not sent'], [false, 'lost']]);
  // numbers begin anew with another session: the id of a settled message is free
  const again = log.say('s1', 'four', 3);
  assert.equal(log.settle('s1'), again);
});

test('messages for programs are told from those for people', () => {
  for (const text of ['{"isVideoEnabled":false}', ' [1, 2]', '[]', '{}']) assert.ok(isData(text), text);
  for (const text of ['hi', '', '{hi}', '[sic] it says', '12', '"x"', 'null', '{"a":1} or not']) assert.ok(!isData(text), text);
});

test('every reason for what was not sent has words', () => {
  const texts = [{ code: 'forbidden' }, { code: 'too_long' }, { code: 'lost' }, { code: 'too_many', message: 'too many requests' }, { code: 'odd' }].map(unsaid);
  assert.equal(new Set(texts).size, texts.length);
  assert.equal(texts[3], 'Not sent. Too many requests.');
  assert.equal(texts[4], 'Not sent.');
});
