// The chat beside the stage: what was said, and a field to say something. Texts are shown as they are, never as HTML.

import { ChatLog } from './chat.js';
import { byId, make } from './dom.js';
import { count, unsaid } from './messages.js';
import { choice } from './settings.js';

/** A message that comes while the chat is closed is shown as a notice: so many characters of the name and of the text. */
const NOTICE = [24, 60];

export class ChatBox {
  #log = new ChatLog();
  #rows = new Map();
  #unread = 0;
  #notice = null;
  #say;
  #toast;

  /** `say(text)` sends and gives the message's id, or null when nothing can be sent now; `toast(text)` gives its element. */
  constructor({ say, toast }) {
    this.#say = say;
    this.#toast = toast;
    byId('chat-open').addEventListener('click', () => this.#show(!this.#isOpen));
    byId('chat-close').addEventListener('click', () => this.#show(false));
    byId('chat').addEventListener('keydown', event => event.key === 'Escape' && this.#show(false));
    byId('chat-form').addEventListener('submit', event => {
      event.preventDefault();
      this.#send();
    });
    byId('chat-text').addEventListener('keydown', event => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    this.#show(choice('chat') === 'open', { focus: false });
  }

  /** Another room: nothing was said yet. */
  clear() {
    this.#log.clear();
    this.#rows.clear();
    byId('chat-log').replaceChildren();
    this.#count(0);
    this.#empty();
  }

  /** How the visit goes: something can be said while the visitor is in. What waits for an answer when the connection is lost may not
   *  have been sent. */
  follow(phase) {
    byId('chat-send').disabled = phase !== 'in';
    if (phase === 'in' || phase === 'connecting') return;
    this.#log.giveUp(unsaid({ code: 'lost' })).forEach(entry => this.#draw(entry));
  }

  said(message) {
    const entry = this.#log.said(message, Date.now());
    this.#append(entry);
    if (this.#isOpen || entry.data) return;
    this.#count(this.#unread + 1);
    const [name, text] = [entry.name || 'Guest', entry.text].map((whole, i) => (whole.length > NOTICE[i] ? `${whole.slice(0, NOTICE[i])}…` : whole));
    this.#notice?.remove();
    this.#notice = this.#toast(`${name}: ${text}`);
  }

  /** The gateway's word on a message of the visitor's. */
  settled({ id, code, message }) {
    const entry = this.#log.settle(id, code ? unsaid({ code, message }) : null);
    if (entry) this.#draw(entry);
  }

  get #isOpen() {
    return !byId('chat').hidden;
  }

  #show(open, { focus = true } = {}) {
    choice('chat', open ? 'open' : '');
    byId('chat').hidden = !open;
    document.body.classList.toggle('with-chat', open);
    byId('chat-open').setAttribute('aria-expanded', String(open));
    if (open) {
      this.#notice?.remove();
      this.#count(0);
      byId('chat-log').scrollTop = byId('chat-log').scrollHeight;
    }
    if (!focus) return;
    if (!open) byId('chat-open').focus();
    // on a phone the keyboard would cover what was said
    else if (matchMedia('(hover: hover)').matches) byId('chat-text').focus();
  }

  #count(unread) {
    this.#unread = unread;
    byId('chat-unread').textContent = unread > 9 ? '9+' : String(unread);
    byId('chat-unread').hidden = unread === 0;
    const label = unread ? `Chat, ${count(unread, 'new message')}` : 'Chat';
    byId('chat-open').setAttribute('aria-label', label);
  }

  #send() {
    const field = byId('chat-text');
    const text = field.value.trim();
    if (!text || byId('chat-send').disabled) return;
    const id = this.#say(text);
    if (id === null) return;
    field.value = '';
    this.#append(this.#log.say(id, text, Date.now()));
  }

  #append(entry) {
    const list = byId('chat-log');
    // who reads further up stays there
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
    const row = make('li', {});
    this.#rows.set(entry, row);
    this.#draw(entry);
    list.append(row);
    const { entries } = this.#log;
    for (const [old, gone] of this.#rows) {
      if (entries.includes(old)) break;
      gone.remove();
      this.#rows.delete(old);
      this.#draw(entries[0]);
    }
    if (atEnd || entry.own) list.scrollTop = list.scrollHeight;
    this.#empty();
  }

  #draw(entry) {
    const row = this.#rows.get(entry);
    if (!row) return;
    const kinds = { own: entry.own, data: entry.data, waiting: entry.waiting, unsent: entry.problem };
    row.className = ['said', ...Object.keys(kinds).filter(kind => kinds[kind])].join(' ');
    const time = new Date(entry.at);
    const head = entry.follows ? null : make('p', { class: 'said-head' },
      make('span', { class: 'said-name', text: entry.own ? 'You' : entry.name || 'Guest' }),
      make('time', { class: 'muted', datetime: time.toISOString(), text: time.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }) }));
    row.replaceChildren(...[head, make('p', { class: 'said-text', dir: 'auto', text: entry.text }),
      entry.problem && make('p', { class: 'said-problem', text: entry.problem })].filter(Boolean));
  }

  #empty() {
    byId('chat-empty').hidden = this.#log.entries.length > 0;
  }
}
