// The page's entry: reads the address, shows the list or a room.

import { byId, make } from './dom.js';
import { RoomList } from './rooms.js';
import { RoomView } from './roomview.js';
import { addressOf, parseAddress, token } from './settings.js';

const TOAST_MS = 4000;
const MAX_TOASTS = 3;

function toast(text, { stay = false } = {}) {
  const element = make('div', { class: 'toast' }, make('span', { text }),
    stay ? make('button', { class: 'quiet', type: 'button', text: 'Close', onclick: () => element.remove() }) : null);
  const all = byId('toasts');
  all.append(element);
  while (all.children.length > MAX_TOASTS) all.firstElementChild.remove();
  if (!stay) setTimeout(() => element.remove(), TOAST_MS);
  return element;
}

/** A problem in place of the content: `{title, detail, token, retry}`, or null. */
function card(what) {
  const element = byId('problem');
  const said = JSON.stringify(what);
  if (element.dataset.said === said) return; // drawn again it would lose what is being typed
  element.dataset.said = said;
  element.hidden = !what;
  document.body.classList.toggle('with-problem', Boolean(what));
  if (!what) return;
  byId('problem-title').textContent = what.title;
  byId('problem-detail').textContent = what.detail;
  byId('problem-token').hidden = !what.token;
  byId('problem-retry').hidden = !what.retry;
}

const list = new RoomList({ problem: what => place === '' && card(what) });
const view = new RoomView({ card, toast, left: () => go('') });
/** The room that is shown; empty for the list, null before the first. */
let place = null;

function show() {
  const { room, token: given } = parseAddress(location);
  if (given) token(given);
  const address = addressOf(room);
  if (location.pathname + location.search + location.hash !== address) history.replaceState(null, '', address);
  if (room === place && !given) return;
  place = room;
  card(null);
  byId('list').hidden = room !== '';
  byId('room').hidden = room === '';
  document.body.classList.toggle('in-room', room !== '');
  document.title = room ? `${room} – Portico` : 'Portico';
  byId('room-name').textContent = room;
  if (room) {
    list.stop();
    view.enter(room);
  } else {
    view.close();
    list.start();
  }
}

function go(room) {
  history.pushState(null, '', addressOf(room));
  show();
}

byId('enter').addEventListener('submit', event => {
  event.preventDefault();
  const name = byId('enter-name').value.trim();
  if (name) go(name);
});
byId('problem-token').addEventListener('submit', event => {
  event.preventDefault();
  token(byId('token').value.trim());
  byId('token').value = '';
  again();
});
byId('problem-retry').addEventListener('click', again);
byId('copy-link').addEventListener('click', async () => {
  await navigator.clipboard.writeText(location.href).then(() => toast('Link copied'), () => toast(location.href, { stay: true }));
});
byId('copy-link').hidden = !navigator.clipboard;

function again() {
  card(null);
  if (place) view.again();
  else list.again();
}

// by script, because the fragment of the address is the room
document.querySelector('.skip').addEventListener('click', event => {
  event.preventDefault();
  byId('main').focus();
});
addEventListener('hashchange', show);
addEventListener('popstate', show);
// left when the page was put away; back when it is fetched again
addEventListener('pageshow', event => event.persisted && again());
show();

/** For support: `portico.figures()` in the browser's console gives the figures of every tile. */
globalThis.portico = { figures: () => view.figures() };
