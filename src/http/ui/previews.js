// Small pictures on the cards of the list. Each is taken once per visit of the list, and only when its card is seen: a picture opens a camera.

/** Who only passes through (ms) opens nothing. */
const PAUSE = 500;
/** Twice what a card shows, for screens with small pixels. */
const WIDTH = 320;

/** What a card shows of a room, from the API's: the first source's picture, else the first member's; null where there is none. Never
 *  that of a mix: for it everybody would be decoded. */
export function pictured(room) {
  const members = room.members.filter(member => member.dialect !== 'mix').sort((a, b) => (b.dialect === 'source') - (a.dialect === 'source'));
  for (const member of members) {
    const stream = (member.streams ?? []).find(stream => stream.kinds?.includes('video'));
    if (stream) return addressOf(room.room, stream.name, member.id);
  }
  return null;
}

const addressOf = (room, stream, member) =>
  `/api/v1/rooms/${encodeURIComponent(room)}/streams/${encodeURIComponent(stream)}/snapshot.jpg?member=${member}&width=${WIDTH}`;

export class Previews {
  /** Object addresses by the API's; an empty text where there is no picture, or none yet. */
  #pictures = new Map();
  /** What is to be fetched, in the order in which it was seen. */
  #waiting = new Set();
  #fetch;
  #abort = new AbortController();
  #busy = false;
  #eyes = new IntersectionObserver(entries => this.#see(entries.filter(entry => entry.isIntersecting).map(entry => entry.target)));

  /** `fetch(path, options)` asks the API. */
  constructor(fetch) {
    this.#fetch = fetch;
  }

  /** To be called after cards were drawn: their elements `.card-picture` have the address in `data-picture`. */
  watch(list) {
    this.#eyes.disconnect();
    for (const place of list.querySelectorAll('[data-picture]')) {
      if (this.#pictures.get(place.dataset.picture)) this.#fill(place);
      else this.#eyes.observe(place);
    }
  }

  /** Forgets everything. */
  stop() {
    this.#eyes.disconnect();
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#waiting.clear();
    for (const picture of this.#pictures.values()) if (picture) URL.revokeObjectURL(picture);
    this.#pictures.clear();
  }

  #see(places) {
    for (const place of places) if (!this.#pictures.has(place.dataset.picture)) this.#waiting.add(place.dataset.picture);
    this.#work();
  }

  /** One after the other, for the gateway's sake. */
  async #work() {
    if (this.#busy) return;
    this.#busy = true;
    const { signal } = this.#abort;
    await new Promise(done => setTimeout(done, PAUSE));
    for (const address of this.#waiting) {
      if (signal.aborted || document.hidden) break;
      this.#waiting.delete(address);
      this.#pictures.set(address, '');
      const picture = await this.#take(address, signal);
      if (!picture || signal.aborted) continue;
      this.#pictures.set(address, URL.createObjectURL(picture));
      for (const place of document.querySelectorAll('[data-picture]')) if (place.dataset.picture === address) this.#fill(place);
    }
    this.#busy = false;
    // the list was left and entered again meanwhile
    if (signal.aborted && this.#waiting.size > 0) this.#work();
  }

  async #take(address, signal) {
    try {
      const response = await this.#fetch(address, { signal });
      return response.ok ? await response.blob() : null;
    } catch {
      return null;
    }
  }

  #fill(place) {
    const image = new Image();
    image.alt = '';
    image.src = this.#pictures.get(place.dataset.picture);
    place.replaceChildren(image);
  }
}
