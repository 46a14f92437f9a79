// The websocket to the gateway's `/page`: one JSON object a frame, opened again whenever it is lost.
// It knows nothing of rooms; who owns it joins again each time it opens.

const STEPS = [1000, 2000, 4000, 8000, 15000];
/** An opening that takes longer than this has failed. */
const OPEN_LIMIT = 10000;

/** Milliseconds before the next attempt: 1, 2, 4, 8, then 15 seconds, each up to a fifth more or less, so that the visitors of
 *  a restarted gateway do not come back all at once. */
export function delay(attempt, random = Math.random) {
  const base = STEPS[Math.min(attempt, STEPS.length - 1)];
  return Math.round(base * (0.8 + 0.4 * random()));
}

/** Where the websocket is, seen from the page's address. */
export function socketAddress(location) {
  return `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/page`;
}

export class Signalling {
  #socket = null;
  #attempt = 0;
  #timer = null;
  #stopped = true;
  #env;

  /** `opened()`, `message(object)` and `waiting(ms)` are called; the rest is for tests. */
  constructor({ url, opened, message, waiting, ...env }) {
    this.url = url;
    this.handlers = { opened, message, waiting };
    this.#env = {
      connect: address => new WebSocket(address),
      setTimer: (run, ms) => setTimeout(run, ms),
      clearTimer: id => clearTimeout(id),
      random: Math.random,
      ...env,
    };
  }

  get open() {
    return this.#socket?.readyState === 1;
  }

  start() {
    this.#stopped = false;
    this.#connect();
  }

  /** Says one thing; false when there is no connection. */
  send(message) {
    if (!this.open) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** The gateway works: the next loss is a new one and waits from the start again. */
  settled() {
    this.#attempt = 0;
  }

  /** For good, until `start`. */
  stop() {
    this.#stopped = true;
    this.#drop();
  }

  /** The connection is known to be dead before the socket knows it. */
  lost() {
    if (this.#stopped || !this.#socket) return;
    this.#drop();
    this.#wait();
  }

  /** Does not wait any longer. */
  retryNow() {
    if (this.#stopped || this.#socket) return;
    this.#env.clearTimer(this.#timer);
    this.#connect();
  }

  #drop() {
    this.#env.clearTimer(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
      socket.close();
    }
  }

  #connect() {
    const socket = this.#env.connect(this.url);
    this.#socket = socket;
    this.#timer = this.#env.setTimer(() => this.lost(), OPEN_LIMIT);
    socket.onopen = () => {
      this.#env.clearTimer(this.#timer);
      this.handlers.opened();
    };
    socket.onmessage = event => {
      let message;
      try {
        message = JSON.parse(event.data);
      } catch {
        return; // the gateway sends nothing but JSON; what is not is a proxy's
      }
      this.handlers.message(message);
    };
    socket.onclose = () => this.lost();
  }

  #wait() {
    const ms = delay(this.#attempt, this.#env.random);
    this.#attempt += 1;
    this.#timer = this.#env.setTimer(() => this.#connect(), ms);
    this.handlers.waiting(ms);
  }
}
