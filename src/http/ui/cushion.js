// How long pictures wait before they are shown, so that one that was lost on the way is there in time when it is sent again. Pure.
//
// A browser makes this long enough by itself only where it knows the round trip, and whoever only watches does not; nor does it know of the line
// of whoever publishes.

/** What the first freeze brings, in ms: a question and its answer over a line of 100 ms. What others add, and the most: both are lost, too. */
const FIRST = 400;
const STEP = 200;
const MOST = 800;
/** Without a freeze for so long, in ms, one step less is enough. */
const CALM = 30_000;

export class Cushion {
  #freezes = null;
  #since = 0;
  /** In ms; null leaves it to the browser. */
  target = null;

  /** Takes the count of freezes so far at a time in ms; gives the target. */
  next(freezes, now) {
    const before = this.#freezes ?? 0;
    this.#freezes = freezes;
    if (freezes > before) {
      this.#since = now;
      this.target = this.target === null ? FIRST : Math.min(this.target + STEP, MOST);
    } else if (this.target !== null && now - this.#since >= CALM) {
      this.#since = now;
      this.target = this.target > FIRST ? this.target - STEP : null;
    }
    return this.target;
  }
}

/** Has a connection show what it receives that late. */
export function soften(pc, target) {
  for (const receiver of pc.getReceivers()) {
    if ('jitterBufferTarget' in receiver && receiver.jitterBufferTarget !== target) receiver.jitterBufferTarget = target;
  }
}
