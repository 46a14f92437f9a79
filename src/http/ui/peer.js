// One connection with the gateway: the page offers, the answer is complete, candidates of this side follow as they are found.
// It restarts ICE by itself; when that does not help it says so once, and whoever owns it opens another.

/** An interruption shorter than this (ms) mends itself. */
const INTERRUPTED = 3000;
/** An answer that takes longer than this (ms) does not come: the websocket is dead. */
const ANSWER_LIMIT = 15000;
/** From the answer to a connection, in ms. */
const CONNECT_LIMIT = 20000;
/** Restarts in a row that did not help. */
const MAX_RESTARTS = 3;

export class Peer {
  #send;
  #on;
  #held = [];
  #announced = false;
  #timer = null;
  #restarts = 0;

  /** `send(message)` reaches the gateway. `on.up()` and `on.down()` as the connection comes and goes; `on.failed(why)`
   *  (`unanswered` or `unconnected`) once, when it is closed. */
  constructor({ label, iceServers, send, on }) {
    this.label = label;
    this.#send = send;
    this.#on = on;
    this.connected = false;
    this.pc = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle' });
    this.pc.onicecandidate = ({ candidate }) => this.#candidate(candidate);
    this.pc.oniceconnectionstatechange = () => this.#connection();
  }

  /** Offers; `request(sdp)` makes the message (`publish` or `play`). */
  async open(request) {
    await this.pc.setLocalDescription(await this.pc.createOffer());
    if (this.closed) return;
    this.#send(request(this.pc.localDescription.sdp));
    this.#announced = true;
    this.#held.splice(0).forEach(candidate => this.#candidate(candidate));
    this.#after(ANSWER_LIMIT, () => this.#fail('unanswered'));
  }

  async answered(sdp) {
    if (this.closed || this.pc.signalingState !== 'have-local-offer') return;
    await this.pc.setRemoteDescription({ type: 'answer', sdp });
    this.#after(CONNECT_LIMIT, () => this.#fail('unconnected'));
    this.#connection();
  }

  /** New addresses, the same media. */
  async restart() {
    if (this.closed || this.pc.signalingState !== 'stable') return;
    this.#restarts += 1;
    if (this.#restarts > MAX_RESTARTS) return this.#fail('unconnected');
    await this.pc.setLocalDescription(await this.pc.createOffer({ iceRestart: true }));
    if (this.closed) return;
    this.#send({ type: 'restart', peer: this.label, sdp: this.pc.localDescription.sdp });
    this.#after(ANSWER_LIMIT, () => this.#fail('unanswered'));
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    clearTimeout(this.#timer);
    this.pc.onicecandidate = this.pc.oniceconnectionstatechange = this.pc.ontrack = null;
    this.pc.close();
  }

  #candidate(candidate) {
    if (!this.#announced) this.#held.push(candidate);
    else if (candidate === null) this.#send({ type: 'candidate', peer: this.label, candidate: null });
    else if (candidate.candidate) this.#send({ type: 'candidate', peer: this.label, candidate: candidate.toJSON() });
  }

  #connection() {
    const state = this.pc.iceConnectionState;
    if (state === 'connected' || state === 'completed') {
      if (this.pc.signalingState === 'stable') clearTimeout(this.#timer);
      this.#restarts = 0;
      this.connected = true;
      this.#on.up();
    } else if (state === 'disconnected') {
      this.#down();
      this.#after(INTERRUPTED, () => this.restart());
    } else if (state === 'failed') {
      this.#down();
      this.restart();
    }
  }

  #down() {
    this.connected = false;
    this.#on.down();
  }

  /** One timer is enough: each step of a connection replaces the limit of the one before. */
  #after(ms, run) {
    clearTimeout(this.#timer);
    if (!this.closed) this.#timer = setTimeout(run, ms);
  }

  #fail(why) {
    if (this.closed) return;
    this.close();
    this.#on.failed(why);
  }
}
