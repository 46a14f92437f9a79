// A visit to a room: keeps the websocket, the room's state, one connection for each watched stream and one for the own, and
// brings all of it back after a loss. Shows nothing; tells its owner that something changed.

import { Cushion, soften } from './cushion.js';
import { Peer } from './peer.js';
import { apply, keyOf, nothing, streamsOf } from './room.js';
import { Signalling, delay, socketAddress } from './signalling.js';
import { History } from './stats.js';

/** The own stream's name; players ask for it as the default of the room. */
const STREAM = 'main';
/** After these the page does not come back by itself. */
const FINAL = new Set(['evicted', 'replaced', 'expired']);
/** Streams that this visitor cannot have, however often it asks. */
const HOPELESS = new Set(['no_common_codec', 'forbidden', 'unauthorised']);

/** After these the own stream is offered again, a few times: the old one may not be gone yet, or a port was missing. */
const PASSING = new Set(['stream_taken', 'internal', 'never_connected', 'lost']);
const MAX_OFFERS = 3;

/** One stream with its connection: a watched one, or the own. */
class Slot {
  peer = null;
  media = new MediaStream();
  history = new History();
  cushion = new Cushion();
  problem = null;
  attempt = 0;
  timer = null;
  constructor(row) {
    this.row = row;
  }
}

export class Session extends EventTarget {
  /** `connecting`, `in`, `waiting` (for the next attempt), `refused` or `ended`. */
  phase = 'connecting';
  /** The refusal or the end, with `code` or `reason`. */
  problem = null;
  /** When the next attempt comes, in ms of `Date.now()`. */
  retryAt = null;
  room = nothing();
  slots = new Map();
  publisher = null;
  own = null;
  #signalling;
  #labels = 0;
  #words = 0;
  /** Said while the room is being entered. */
  #unsaid = [];
  #token;

  constructor({ room, name, token }) {
    super();
    this.name = name;
    this.roomName = room;
    this.#token = token;
    this.#signalling = new Signalling({
      url: socketAddress(location),
      opened: () => this.#join(),
      message: message => this.#told(message),
      waiting: ms => this.#lost(ms),
    });
    this.#signalling.start();
  }

  /** Another name for the others; the room is entered again with it. */
  rename(name) {
    if (name === this.name) return;
    this.name = name;
    if (this.phase !== 'in') return;
    this.#signalling.send({ type: 'leave' });
    this.again();
  }

  /** Enters again, at once; with another token if one is given. */
  again(token = this.#token) {
    this.#token = token;
    this.#signalling.stop();
    this.#closeAll();
    this.#set('connecting');
    this.#signalling.start();
  }

  retryNow() {
    this.#signalling.retryNow();
  }

  /** Sends camera and microphone from now on, through reconnections too. */
  publish(publisher) {
    this.publisher = publisher;
    this.#openOwn();
  }

  /** Offers the own stream anew: it has a kind more than before. */
  republish() {
    this.#closeOwn();
    this.#openOwn();
  }

  unpublish() {
    this.#closeOwn();
    this.publisher = null;
    this.#changed();
  }

  /** Tells the others what is muted. */
  tellMuted() {
    if (this.publisher) this.#send({ type: 'mute', audio: this.publisher.audioMuted, video: this.publisher.videoMuted || !this.publisher.track('video') });
  }

  /** Says something to all others, as soon as the room is entered. Gives the message's id, by which `sent` or `unsent` tells what
   *  became of it; null while the connection is lost. */
  say(text) {
    if (this.phase !== 'in' && this.phase !== 'connecting') return null;
    this.#words += 1;
    const message = { type: 'say', text, id: `s${this.#words}` };
    if (this.phase === 'in') this.#send(message);
    else this.#unsaid.push(message);
    return message.id;
  }

  leave() {
    this.#signalling.send({ type: 'leave' });
    this.#signalling.stop();
    this.#closeAll();
    this.publisher = null;
    this.#set('ended', { reason: 'left' });
  }

  /** Reads the figures of every connection once. */
  async measure() {
    const all = [this.own, ...this.slots.values()].filter(slot => slot?.peer?.connected);
    await Promise.all(all.map(async slot => {
      try {
        const { pc } = slot.peer;
        const { freezes } = slot.history.add((await pc.getStats()).values());
        soften(pc, slot.cushion.next(freezes, performance.now()));
      } catch {
        // closed meanwhile
      }
    }));
  }

  #join() {
    this.#send({ type: 'join', room: this.roomName, name: this.name, ...(this.#token ? { token: this.#token } : {}) });
  }

  #send(message) {
    this.#signalling.send(message);
  }

  #told(message) {
    const before = this.room;
    this.room = apply(this.room, message);
    switch (message.type) {
      case 'welcome':
        this.#signalling.settled();
        this.#set('in');
        if (this.publisher) this.#openOwn();
        this.#unsaid.splice(0).forEach(said => this.#send(said));
        break;
      case 'answer':
        this.#slotOf(message.peer)?.peer.answered(message.sdp).catch(() => this.#retry(this.#slotOf(message.peer), 'bad_description'));
        break;
      case 'refused':
        return this.#refused(message);
      case 'peer-down':
        this.#retry(this.#slotOf(message.peer), message.reason);
        break;
      case 'ended':
        return this.#ended(message.reason);
      case 'said':
        return this.#event('said', message);
      case 'sent':
        return this.#event('sent', { id: message.id });
      case 'joined':
        this.#event('joined', { member: message.member });
        break;
      case 'left':
        this.#event('left', { member: before.members.get(message.member), reason: message.reason });
        break;
      case 'changed':
      case 'stream-up':
      case 'stream-down':
        break;
      default:
        return;
    }
    this.#reconcile();
    this.#changed();
  }

  #refused({ re, peer, id, code, message }) {
    if (re === 'say') return this.#event('unsent', { id, code, message });
    if (re === 'join') {
      if (code === 'stopping') return this.#ended(code);
      this.#signalling.stop();
      return this.#set('refused', { code, message });
    }
    const slot = peer && this.#slotOf(peer);
    if (!slot) return;
    if (re === 'restart') {
      this.#retry(slot, code);
    } else if (slot === this.own && !(PASSING.has(code) && slot.attempt < MAX_OFFERS)) {
      // nothing of the own stream may be retried in silence: the visitor thinks to be seen
      this.#closeOwn();
      this.publisher?.stop();
      this.publisher = null;
      this.#event('unpublished', { code, message });
    } else {
      this.#retry(slot, code);
    }
    this.#changed();
  }

  #ended(reason) {
    if (!FINAL.has(reason)) {
      this.problem = { reason };
      this.#signalling.lost();
      return;
    }
    this.#signalling.stop();
    this.#closeAll();
    this.publisher?.stop();
    this.publisher = null;
    this.#set('ended', { reason });
  }

  #lost(ms) {
    const problem = this.problem?.reason === 'stopping' ? this.problem : null;
    this.retryAt = Date.now() + ms;
    this.#closeAll();
    this.#set('waiting', problem);
  }

  /** One connection for every stream that is up, none for those that are not. */
  #reconcile() {
    const rows = new Map(streamsOf(this.room).map(row => [row.key, row]));
    for (const [key, slot] of this.slots) {
      const row = rows.get(key);
      if (row && String(row.kinds) === String(slot.row.kinds)) slot.row = row;
      else this.#close(slot);
    }
    for (const [key, row] of rows) {
      if (this.slots.has(key)) continue;
      const slot = new Slot(row);
      this.slots.set(key, slot);
      this.#openPlay(slot);
    }
  }

  #openPlay(slot) {
    const { member, stream, kinds } = slot.row;
    const peer = this.#peer(slot);
    for (const kind of kinds) peer.pc.addTransceiver(kind, { direction: 'recvonly' });
    // a new connection brings new tracks; the tile keeps the stream
    slot.media.getTracks().forEach(track => slot.media.removeTrack(track));
    peer.pc.ontrack = ({ track }) => {
      slot.media.addTrack(track);
      this.#changed();
    };
    peer.open(sdp => ({ type: 'play', peer: peer.label, member, stream, sdp })).catch(() => this.#retry(slot, 'internal'));
  }

  #openOwn() {
    if (this.phase !== 'in' || !this.publisher || this.own) return;
    this.own = new Slot({ key: keyOf(this.room.me, STREAM), member: this.room.me, stream: STREAM });
    this.own.media = this.publisher.stream;
    this.#offerOwn(this.own);
    this.#changed();
  }

  #offerOwn(slot) {
    const peer = this.#peer(slot);
    this.publisher.attach(peer.pc);
    peer.open(sdp => ({ type: 'publish', peer: peer.label, stream: STREAM, sdp })).catch(() => this.#retry(slot, 'internal'));
    this.tellMuted();
  }

  #peer(slot) {
    this.#labels += 1;
    const label = `p${this.#labels}`;
    slot.peer = new Peer({
      label,
      iceServers: this.room.iceServers,
      send: message => this.#send(message),
      on: {
        up: () => {
          slot.attempt = 0;
          slot.problem = null;
          this.#changed();
        },
        down: () => {
          slot.problem = 'interrupted';
          this.#changed();
        },
        failed: why => {
          // no answer to anything: the websocket is dead and does not know it
          if (why === 'unanswered') this.#signalling.lost();
          else this.#retry(slot, why);
        },
      },
    });
    return slot.peer;
  }

  /** The connection is gone; another one is tried while the stream is there. */
  #retry(slot, problem) {
    if (!slot) return;
    this.#end(slot);
    slot.problem = problem;
    clearTimeout(slot.timer);
    if (HOPELESS.has(problem)) return this.#changed();
    slot.timer = setTimeout(() => {
      if (slot === this.own) this.#offerOwn(slot);
      else if (this.slots.get(slot.row.key) === slot) this.#openPlay(slot);
    }, delay(slot.attempt));
    slot.attempt += 1;
    this.#changed();
  }

  #slotOf(label) {
    return [this.own, ...this.slots.values()].find(slot => slot?.peer?.label === label) ?? null;
  }

  #close(slot) {
    clearTimeout(slot.timer);
    this.#end(slot);
    if (this.slots.get(slot.row.key) === slot) this.slots.delete(slot.row.key);
  }

  /** Ends a connection on both sides; the gateway passes over a label that it no longer knows. */
  #end(slot) {
    if (!slot.peer) return;
    this.#send({ type: 'stop', peer: slot.peer.label });
    slot.peer.close();
    slot.peer = null;
  }

  #closeOwn() {
    if (this.own) this.#close(this.own);
    this.own = null;
  }

  #closeAll() {
    this.#closeOwn();
    [...this.slots.values()].forEach(slot => this.#close(slot));
    this.room = nothing();
  }

  #set(phase, problem = null) {
    this.phase = phase;
    if (phase !== 'in' && phase !== 'connecting') this.#unsaid = [];
    this.problem = problem;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }

  #event(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
