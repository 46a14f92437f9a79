// What has been said in a room, from one visitor's place. Pure: knows no DOM, no socket.

/** Messages that are kept; older ones go. */
export const MOST = 200;
/** Messages of one member that come within this time of each other stand together, in ms. */
const TOGETHER = 120_000;

/** Whether a message is for programs, not for people: a JSON object or list. */
export function isData(text) {
  if (!/^\s*[[{]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** The newest messages, oldest first, each `{id, member, name, text, own, data, at, follows, problem, waiting}`: `follows` the one
 *  before it without a head of its own, `waiting` for the gateway's word, `problem` says why it was not sent. */
export class ChatLog {
  entries = [];

  /** Somebody else said something. */
  said({ member, name, text }, at) {
    return this.#add({ id: null, member, name, text, own: false, at, waiting: false });
  }

  /** The visitor says something, under an id of its own. */
  say(id, text, at) {
    return this.#add({ id, member: 'me', name: '', text, own: true, at, waiting: true });
  }

  /** The gateway's word on a message, with a `problem` if it was not sent. Gives the message if it is still there. */
  settle(id, problem = null) {
    const entry = this.entries.find(one => one.waiting && one.id === id);
    if (entry) Object.assign(entry, { waiting: false, problem });
    return entry ?? null;
  }

  /** Nothing more will be heard of what waits; gives those messages. */
  giveUp(problem) {
    return this.entries.filter(one => one.waiting).map(entry => this.settle(entry.id, problem));
  }

  clear() {
    this.entries = [];
  }

  #add(entry) {
    const last = this.entries.at(-1);
    const together = Boolean(last) && last.member === entry.member && entry.at - last.at < TOGETHER;
    const made = { ...entry, data: isData(entry.text), follows: together, problem: null };
    this.entries.push(made);
    if (this.entries.length > MOST) {
      this.entries.shift();
      this.entries[0].follows = false;
    }
    return made;
  }
}
