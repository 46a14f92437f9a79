// What the page remembers. Choices stay in this browser; the token stays in this tab and is never written into an address.

const PREFIX = 'portico.';

function kept(storage, key, value) {
  try {
    const area = globalThis[storage];
    if (value === undefined) return area.getItem(PREFIX + key) ?? '';
    if (value === '') area.removeItem(PREFIX + key);
    else area.setItem(PREFIX + key, value);
  } catch {
    // storage is switched off: the choice lasts as long as the page
    memory.set(storage + key, value ?? memory.get(storage + key));
  }
  return value ?? memory.get(storage + key) ?? '';
}

const memory = new Map();

/** Reads a choice (`sound`, `figures`, `chat`, `name`, `camera`, `microphone`, `speaker`), or writes it; an empty text forgets it. */
export const choice = (key, value) => kept('localStorage', key, value);

/** Reads or writes the room token. */
export const token = value => kept('sessionStorage', 'token', value);

/** Room and token out of an address: `/?room=NAME&token=T`, `/#room=NAME`, `/#token=T`. The fragment wins. */
export function parseAddress({ search, hash }) {
  const query = new URLSearchParams(search);
  const fragment = new URLSearchParams(hash.replace(/^#/, ''));
  const of = key => fragment.get(key) ?? query.get(key) ?? '';
  return { room: of('room').trim(), token: of('token').trim() };
}

/** The address of a room, without the token; of the list, when there is no room. */
export const addressOf = room => (room ? `/#room=${encodeURIComponent(room)}` : '/');
