// The choice of layout in a mixed room. Everybody sees the same picture, so it is for those who control the room.

import { byId } from './dom.js';
import { api } from './rooms.js';

export class MixLayout {
  #room = null;
  #shown = 'grid';
  #select = byId('mix-layout');
  #toast;

  /** `toast(text)` tells what went wrong. */
  constructor({ toast }) {
    this.#toast = toast;
    this.#select.addEventListener('change', () => this.#choose(this.#select.value));
  }

  /** Shows the choice for a mixed room; for `null` it is hidden. */
  follow(room) {
    if (room === this.#room) return;
    this.#room = room;
    this.#select.hidden = room === null;
    if (room !== null) this.#read(room);
  }

  async #read(room) {
    const response = await api(this.#path(room));
    const { layout } = response.ok ? await response.json().catch(() => ({})) : {};
    if (layout && room === this.#room) this.#show(layout);
  }

  async #choose(layout) {
    const body = JSON.stringify({ layout });
    const response = await api(this.#path(this.#room), { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body });
    if (response.ok) return this.#show(layout);
    this.#show(this.#shown);
    this.#toast(response.status === 403 || response.status === 401 ? 'The layout is for those who control the room' : 'The layout could not be changed');
  }

  #path = room => `/api/v1/rooms/${encodeURIComponent(room)}/mix`;

  #show(layout) {
    this.#shown = layout;
    this.#select.value = layout;
  }
}
