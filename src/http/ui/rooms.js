// The list of rooms: read from the API, read again when the event stream says that something happened.

import { byId, icon, make } from './dom.js';
import { count, list as texts } from './messages.js';
import { Previews, pictured } from './previews.js';
import { addressOf, token } from './settings.js';
import { delay } from './signalling.js';

/** Events come in bursts; one reading (ms later) serves a burst. */
const SETTLE = 150;
/** How often (ms) the list is read where events do not come through. */
const POLL = 10000;

/** What a card of the list says, from the API's room. Members that nobody sees (players) are counted apart. */
export function summary(room) {
  const seen = room.members.filter(member => member.visible !== false);
  const sources = seen.filter(member => member.dialect === 'source');
  const people = seen.filter(member => !['source', 'mix'].includes(member.dialect) && (member.dialect !== 'bridge' || member.via));
  return {
    name: room.room,
    sources: sources.map(member => ({ name: member.name || member.user_id, live: member.streams.length > 0 })),
    people: people.map(member => ({ name: member.name || member.user_id || 'Guest', live: member.streams.length > 0, lost: Boolean(member.lost) })),
    players: room.members.length - seen.length,
    full: room.members.filter(member => !['source', 'mix'].includes(member.dialect)).length >= room.max_members,
    picture: pictured({ ...room, members: seen }),
  };
}

/** A request with the token, if there is one. Gives the response; status 0 when nobody answered. */
export async function api(path, options = {}) {
  const headers = { ...options.headers, ...(token() ? { Authorization: `Bearer ${token()}` } : {}) };
  try {
    return await fetch(path, { ...options, headers, cache: 'no-store' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    return { ok: false, status: 0 };
  }
}

export class RoomList {
  #stopped = true;
  #abort = null;
  #timer = null;
  #poll = null;
  #attempt = 0;
  #shown = '[]';
  #problem;
  #previews = new Previews(api);

  /** `problem(what)` is told what stands in the way, or null. */
  constructor({ problem }) {
    this.#problem = problem;
  }

  start() {
    if (!this.#stopped) return;
    this.#stopped = false;
    this.#attempt = 0;
    this.#read();
    this.#listen();
    this.#poll = setInterval(() => this.#read(), POLL);
  }

  stop() {
    this.#stopped = true;
    this.#abort?.abort();
    clearInterval(this.#poll);
    clearTimeout(this.#timer);
    this.#previews.stop();
  }

  /** After another token was given. */
  again() {
    this.stop();
    this.start();
  }

  async #read() {
    const response = await api('/api/v1/rooms');
    if (this.#stopped) return;
    if (!response.ok) {
      this.#show([]);
      byId('rooms-empty').hidden = true;
      this.#problem(texts(response.status));
      return;
    }
    const rooms = await response.json().catch(() => []);
    if (this.#stopped) return;
    this.#problem(null);
    byId('rooms-empty').hidden = rooms.length > 0;
    this.#show(rooms.map(summary));
  }

  /** Draws only what changed, and leaves the focus where it is. */
  #show(rooms) {
    const said = JSON.stringify(rooms);
    if (said === this.#shown) return this.#previews.watch(byId('rooms'));
    this.#shown = said;
    const focused = document.activeElement?.dataset.room;
    byId('rooms').replaceChildren(...rooms.map(card));
    this.#previews.watch(byId('rooms'));
    if (focused) byId('rooms').querySelector(`[data-room="${CSS.escape(focused)}"]`)?.focus();
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#read(), SETTLE);
  }

  /** The event stream by fetch, because `EventSource` would need the token in its address. Only that something happened counts. */
  async #listen() {
    while (!this.#stopped) {
      const abort = new AbortController();
      this.#abort = abort;
      try {
        const response = await api('/api/v1/events', { signal: abort.signal });
        if (response.ok) {
          if (this.#attempt > 0) this.#soon();
          this.#attempt = 0;
          const text = new TextDecoder();
          const reader = response.body.getReader();
          for (let part = await reader.read(); !part.done; part = await reader.read()) {
            // comments keep the connection alive; events have fields
            if (/^(event|data):/m.test(text.decode(part.value, { stream: true }))) this.#soon();
          }
        }
      } catch {
        // aborted, or the connection broke: polling goes on meanwhile
      }
      if (this.#stopped) return;
      await new Promise(done => setTimeout(done, delay(this.#attempt)));
      this.#attempt += 1;
      if (abort !== this.#abort) return; // stopped and started again while waiting
    }
  }
}

function card(room) {
  const chips = [
    ...room.sources.map(source => chip('camera', source.name, source.live ? 'chip live' : 'chip off', source.live ? null : 'not available now')),
    ...room.people.map(person => chip(person.live ? 'person-live' : 'person', person.name, person.lost ? 'chip off' : 'chip', person.lost ? 'connection lost' : null)),
    ...(room.players ? [make('span', { class: 'chip plain', text: count(room.players, 'player') })] : []),
  ];
  const people = room.people.length ? count(room.people.length, 'person').replace('persons', 'people') : 'Nobody here';
  return make('li', {}, make('a', { class: room.picture ? 'card pictured' : 'card', href: addressOf(room.name), 'data-room': room.name },
    room.picture ? make('span', { class: 'card-picture', 'data-picture': room.picture }, icon('camera')) : null,
    make('span', { class: 'card-head' },
      make('span', { class: 'card-name', text: room.name }),
      make('span', { class: 'card-count', text: room.full ? `${people} · full` : people })),
    chips.length ? make('span', { class: 'chips' }, ...chips) : null,
    make('span', { class: 'card-go', 'aria-hidden': 'true' }, icon('go'))));
}

function chip(picture, text, kind, note) {
  return make('span', { class: kind, title: note }, icon(picture), make('span', { text: note ? `${text} (${note})` : text }));
}
