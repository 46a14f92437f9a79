// The screen of a room: what the session says becomes tiles, texts and buttons, and buttons become requests to the session.

import { ChatBox } from './chatbox.js';
import { DeviceDialog } from './devices.js';
import { byId, make } from './dom.js';
import { count, connection, device, deviceLost, half, problem, unpublished } from './messages.js';
import { Publisher } from './publish.js';
import { MixLayout } from './mixlayout.js';
import { absentSourcesOf, bridgesOf, isMixed, peopleIn, watchersOf } from './room.js';
import { api } from './rooms.js';
import { Session } from './session.js';
import { choice, token } from './settings.js';
import { pathOf } from './stats.js';
import { Tiles } from './tiles.js';
import { keepAwake } from './wake.js';

/** How often figures are read, and the paths of sources, in ms. */
const MEASURE = 1000;
const PATHS_EVERY = 5;
/** How often it is read whether the room is being recorded. */
const RECORDED_EVERY = 3;

export class RoomView {
  #session = null;
  #tiles = new Tiles(byId('stage'), { soundBlocked: () => this.#blocked() });
  #layout = new MixLayout({ toast: text => this.#toast(text) });
  #devices = new DeviceDialog({ current: () => this.#devicesInUse(), chosen: (role, id) => this.#chosen(role, id) });
  #sources = [];
  #ticks = 0;
  #looks = 0;
  #timer = null;
  #soundBlocked = false;
  #figures = choice('figures') === 'on';
  #busy = false;
  #card;
  #toast;
  #left;
  #chat;

  /** `card(what)` shows a problem in place of the stage, or removes it; `toast(text)` gives its element; `left()` goes back
   *  to the list. */
  constructor({ card, toast, left }) {
    this.#card = card;
    this.#toast = toast;
    this.#left = left;
    this.#chat = new ChatBox({ say: text => this.#say(text), toast });
    const on = (id, run) => byId(id).addEventListener('click', run);
    byId('join').addEventListener('submit', event => {
      event.preventDefault();
      this.#join();
    });
    on('mic', () => this.#muteAudio());
    on('camera', () => this.#muteVideo());
    on('sound', () => this.#setSound(!this.#audible));
    on('tap-sound', () => this.#setSound(true));
    on('show-figures', () => this.#toggleFigures());
    on('choose-devices', () => this.#devices.open());
    on('leave', () => this.#left());
    on('status-retry', () => this.#session?.retryNow());
    document.addEventListener('keydown', event => this.#key(event));
    globalThis.addEventListener('online', () => this.#session?.retryNow());
    globalThis.addEventListener('pagehide', () => this.#session?.leave());
    byId('name').value = choice('name');
  }

  enter(room) {
    this.close();
    const session = new Session({ room, name: choice('name'), token: token() });
    this.#session = session;
    this.#chat.clear();
    this.#looks = 0;
    session.addEventListener('change', () => this.#soon());
    session.addEventListener('said', ({ detail }) => this.#chat.said(detail));
    session.addEventListener('sent', ({ detail }) => this.#chat.settled(detail));
    session.addEventListener('unsent', ({ detail }) => this.#chat.settled(detail));
    session.addEventListener('joined', ({ detail }) => this.#toast(`${detail.member.name || 'Someone'} came in`));
    session.addEventListener('left', ({ detail }) => detail.member && this.#toast(`${detail.member.name || 'Someone'} left`));
    session.addEventListener('unpublished', ({ detail }) => this.#toast(unpublished(detail), { stay: true }));
    this.#timer = setInterval(() => this.#tick(), MEASURE);
    keepAwake(true);
    this.#render();
  }

  /** After a problem card's button: enter again, with another token if one was given. */
  again() {
    if (this.#session) this.#session.again(token());
  }

  close() {
    clearInterval(this.#timer);
    const session = this.#session;
    this.#session = null;
    keepAwake(false);
    this.#note(null);
    byId('recorded').hidden = true;
    if (!session) return;
    session.publisher?.stop();
    session.leave();
    this.#tiles.update([], {});
  }

  /** The newest figures of every tile, for support and tests. */
  figures() {
    if (!this.#session) return [];
    return this.#entries().map(({ row, own, connected, history }) => ({ name: row.name, stream: row.stream, own: Boolean(own), connected, ...history.latest }));
  }

  get #audible() {
    return choice('sound') === 'on' && !this.#soundBlocked;
  }

  async #join() {
    const session = this.#session;
    if (!session || session.publisher || this.#busy) return;
    const name = byId('name').value.trim();
    choice('name', name);
    this.#note(null);
    this.#busy = true;
    this.#render();
    const publisher = new Publisher({ lost: kind => this.#deviceLost(kind) });
    try {
      const missing = await publisher.start();
      if (missing) this.#note({ ...device(missing.error, { kind: missing.kind }), detail: half(missing.kind === 'video' ? 'video' : 'audio') });
    } catch (error) {
      publisher.stop();
      this.#note(device(error, { host: location.host, room: session.roomName }));
      return;
    } finally {
      this.#busy = false;
      this.#render();
    }
    if (session !== this.#session) return publisher.stop();
    publisher.videoMuted = !publisher.track('video');
    publisher.audioMuted = !publisher.track('audio');
    session.rename(name);
    session.publish(publisher);
    // who talks wants to hear; the click allows it
    if (choice('sound') !== 'off') this.#setSound(true);
  }

  /** Who writes without having joined does so under the name that stands in the field. */
  #say(text) {
    const session = this.#session;
    if (!session) return null;
    const name = byId('name').value.trim();
    if (!session.publisher && name !== session.name) {
      choice('name', name);
      session.rename(name);
    }
    return session.say(text);
  }

  #muteAudio() {
    const { publisher } = this.#session ?? {};
    if (!publisher) return;
    if (!publisher.track('audio')) return this.#device('microphone', choice('microphone'));
    publisher.muteAudio(!publisher.audioMuted);
    this.#session.tellMuted();
    this.#render();
  }

  async #muteVideo() {
    const { publisher } = this.#session ?? {};
    if (!publisher || this.#busy) return;
    if (publisher.videoMuted) return this.#device('camera', choice('camera'));
    await publisher.muteVideo(true);
    this.#session?.tellMuted();
    this.#render();
  }

  #devicesInUse() {
    const { publisher } = this.#session ?? {};
    const id = kind => publisher?.track(kind)?.getSettings().deviceId ?? '';
    return { camera: id('video'), microphone: id('audio'), speaker: choice('speaker') };
  }

  /** Another device while live. A muted camera stays off; the choice counts when it is turned on. */
  #chosen(role, id) {
    const { publisher } = this.#session ?? {};
    if (role === 'speaker' || !publisher || (role === 'camera' && publisher.videoMuted)) return this.#render();
    const muted = publisher.audioMuted;
    return this.#device(role, id, role === 'microphone' && muted);
  }

  /** Takes a device and sends what it gives, muted only if that is said. */
  async #device(role, id, muted = false) {
    const session = this.#session;
    const { publisher } = session ?? {};
    if (!publisher || this.#busy) return;
    const kind = role === 'camera' ? 'video' : 'audio';
    this.#busy = true;
    try {
      const carried = await publisher.switchTo(kind, id);
      if (kind === 'video') publisher.videoMuted = false;
      else publisher.muteAudio(muted);
      this.#note(null);
      if (!carried) session.republish();
    } catch (error) {
      if (kind === 'video') publisher.videoMuted = !publisher.track('video');
      this.#note(device(error, { kind, host: location.host, room: session.roomName }));
    } finally {
      this.#busy = false;
    }
    session.tellMuted();
    this.#render();
  }

  #deviceLost(kind) {
    const { publisher } = this.#session ?? {};
    if (!publisher) return;
    if (kind === 'video') publisher.videoMuted = true;
    else publisher.audioMuted = true;
    this.#toast(deviceLost(kind), { stay: true });
    this.#session.tellMuted();
    this.#render();
  }

  #setSound(on) {
    choice('sound', on ? 'on' : 'off');
    this.#soundBlocked = false;
    this.#render();
  }

  #blocked() {
    if (this.#soundBlocked) return;
    this.#soundBlocked = true;
    this.#soon();
  }

  #toggleFigures() {
    this.#figures = !this.#figures;
    choice('figures', this.#figures ? 'on' : 'off');
    this.#render();
    this.#tick();
  }

  #key(event) {
    if (!this.#session || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.closest?.('input, select, textarea, dialog[open]')) return;
    const button = { m: 'mic', v: 'camera', s: 'sound', f: 'show-figures', c: 'chat-open' }[event.key.toLowerCase()];
    if (!button || byId(button).hidden) return;
    // what opens may take the focus: the key is not to be its first letter
    event.preventDefault();
    byId(button).click();
  }

  async #tick() {
    const session = this.#session;
    if (!session) return;
    if (session.phase === 'waiting') this.#status();
    if (session.phase === 'in' && this.#looks++ % RECORDED_EVERY === 0) this.#readRecorded(session);
    await session.measure();
    if (session !== this.#session) return;
    this.#tiles.showNotices();
    if (!this.#figures) return;
    if (this.#ticks % PATHS_EVERY === 0) this.#readSources();
    this.#ticks += 1;
    this.#tiles.showFigures(({ row, history }) => (row.source ? pathOf(this.#sources, row.name, history.latest?.codecs ?? []) : null));
  }

  /** Who is in the room is to know that it is recorded. */
  async #readRecorded(session) {
    const response = await api(`/api/v1/rooms/${encodeURIComponent(session.roomName)}`).catch(() => null);
    const { recorded } = response?.ok ? await response.json().catch(() => ({})) : {};
    // what cannot be read stays as it was
    if (session === this.#session && recorded !== undefined) byId('recorded').hidden = !recorded;
  }

  async #readSources() {
    const response = await api('/api/v1/sources');
    if (response.ok) this.#sources = await response.json().catch(() => []);
  }

  /** Several changes of one message are one drawing. */
  #soon() {
    if (this.#pending) return;
    this.#pending = true;
    queueMicrotask(() => {
      this.#pending = false;
      this.#render();
    });
  }
  #pending = false;

  #entries() {
    const session = this.#session;
    const entries = [...session.slots.values()].map(slot => entry(slot, slot.row));
    const { own, publisher } = session;
    if (own && publisher) {
      const kinds = publisher.stream.getTracks().map(track => track.kind);
      const row = { ...own.row, name: session.name, kinds, audioMuted: publisher.audioMuted, videoMuted: publisher.videoMuted };
      entries.push({ ...entry(own, row), own: true });
    }
    return entries;
  }

  #render() {
    const session = this.#session;
    if (!session) return;
    const { phase, publisher, room } = session;
    const over = phase === 'refused' || phase === 'ended';
    this.#card(over && session.problem?.reason !== 'left' ? problem(session.problem, { room: session.roomName }) : null);
    const entries = over ? [] : this.#entries();
    this.#tiles.update(entries, { sound: this.#audible, sink: choice('speaker') });
    byId('stage').classList.toggle('with-figures', this.#figures);
    byId('stage-empty').hidden = entries.length > 0 || phase !== 'in';
    byId('people-count').textContent = phase === 'in' ? count(peopleIn(room), 'person').replace('persons', 'people') : '';
    this.#watchers(room);
    this.#layout.follow(phase === 'in' && isMixed(room) ? session.roomName : null);
    const heard = entries.some(({ row, own }) => !own && row.kinds.includes('audio'));
    byId('tap-sound').hidden = !heard || this.#audible || (choice('sound') === 'off');
    byId('controls').hidden = over;
    this.#chat.follow(phase);
    byId('join').hidden = Boolean(publisher);
    byId('join-button').disabled = this.#busy || phase !== 'in';
    for (const id of ['mic', 'camera']) byId(id).hidden = !publisher;
    toggle('mic', publisher && !publisher.audioMuted, 'Mute microphone', 'Unmute microphone', ['mic', 'mic-off']);
    toggle('camera', publisher && !publisher.videoMuted, 'Turn camera off', 'Turn camera on', ['cam', 'cam-off']);
    toggle('sound', this.#audible, 'Mute all sound', 'Play sound', ['sound', 'sound-off']);
    byId('show-figures').setAttribute('aria-pressed', String(this.#figures));
    this.#status();
  }

  #watchers(room) {
    const names = watchersOf(room).map(member => member.name || 'Guest');
    if (this.#session.room.me && !this.#session.publisher) names.unshift('you');
    const parts = names.length ? [`${isMixed(room) ? 'Here' : 'Watching'}: ${names.join(', ')}`] : [];
    const absent = absentSourcesOf(room).map(member => member.name);
    if (absent.length) parts.push(`Not available now: ${absent.join(', ')}`);
    const bridges = bridgesOf(room).map(member => member.name);
    if (bridges.length) parts.push(`Joined to other places by: ${bridges.join(', ')}`);
    byId('watchers').textContent = parts.join(' · ');
    byId('watchers').hidden = parts.length === 0;
  }

  #status() {
    const session = this.#session;
    const seconds = Math.max(0, Math.ceil((session.retryAt - Date.now()) / 1000));
    const text = connection(session.phase, { problem: session.problem, seconds });
    byId('status').hidden = text === null;
    byId('status-text').textContent = text ?? '';
    byId('status-retry').hidden = session.phase !== 'waiting';
  }

  /** A problem that leaves the room usable, above the controls. */
  #note(what) {
    const note = byId('note');
    note.hidden = !what;
    if (!what) return note.replaceChildren();
    note.replaceChildren(
      make('div', {}, make('strong', { text: what.title }), make('p', { text: what.detail }),
        what.link ? make('p', {}, make('a', { href: what.link, text: what.link })) : null),
      make('button', { class: 'quiet', type: 'button', text: 'Close', onclick: () => this.#note(null) }));
  }
}

const entry = (slot, row) => ({ row, media: slot.media, problem: slot.problem, connected: Boolean(slot.peer?.connected), history: slot.history });

function toggle(id, on, whenOn, whenOff, [iconOn, iconOff]) {
  const button = byId(id);
  button.classList.toggle('off', !on);
  button.setAttribute('aria-label', on ? whenOn : whenOff);
  button.title = on ? whenOn : whenOff;
  button.querySelector('use').setAttribute('href', `#icon-${on ? iconOn : iconOff}`);
}
