// The pictures of a room: one tile for each stream, as large as the stage allows, with names, marks and figures.

import { icon, make } from './dom.js';
import { arrange } from './layout.js';
import { PATHS, STILL, tile as texts } from './messages.js';
import { draw } from './plot.js';
import { KEPT, bitrateText, numberText } from './stats.js';

/** Figures that are drawn: label, series, text, the least top of the scale. */
const PLOTS = [
  ['Bit rate', 'bitrate', row => bitrateText(row.bitrate), 500_000],
  ['Frames', 'frameRate', row => numberText(row.frameRate, 'fps'), 30],
  ['Loss', 'loss', row => numberText(row.loss, '%', 1), 5],
  ['Round trip', 'roundTrip', row => numberText(row.roundTrip, 'ms', row.roundTrip !== null && row.roundTrip < 10 ? 1 : 0), 50],
];

/** Up to two letters that stand for a name. */
export function initials(name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)].map(word => [...word][0]) : [[...(words[0] ?? '?')][0]];
  return letters.join('').toUpperCase();
}

class Tile {
  constructor({ own, soundBlocked }) {
    this.own = own;
    this.soundBlocked = soundBlocked;
    this.video = make('video', { playsinline: true, autoplay: true, class: own ? 'mirrored' : null });
    this.video.muted = true;
    this.avatar = make('div', { class: 'avatar', 'aria-hidden': 'true' });
    this.notice = make('p', { class: 'tile-notice' });
    this.label = make('span', { class: 'tile-name' });
    this.micOff = make('span', { class: 'mark', title: 'Microphone muted' }, icon('mic-off'));
    this.figures = this.#figuresPanel();
    this.full = make('button', { class: 'tile-full', type: 'button', onclick: () => this.#fullscreen() }, icon('full'));
    this.element = make('article', { class: own ? 'tile own' : 'tile' },
      this.video, this.avatar, this.notice, this.figures, make('div', { class: 'tile-bar' }, this.micOff, this.label), this.full);
    this.video.addEventListener('resize', () => this.#picture());
    this.video.addEventListener('playing', () => this.#picture());
  }

  /** Shows what the entry says. */
  update(entry, { sound, sink }) {
    const { row, media } = entry;
    this.entry = entry;
    this.element.dataset.member = row.member;
    this.element.dataset.stream = row.stream;
    this.element.dataset.name = row.name;
    const name = this.own ? (row.name ? `${row.name} (you)` : 'You') : row.name || 'Guest';
    const shown = row.stream !== 'main' && row.stream !== row.name ? `${name} · ${row.stream}` : name;
    this.label.textContent = shown;
    this.element.setAttribute('aria-label', shown);
    this.full.setAttribute('aria-label', `Full screen: ${shown}`);
    this.avatar.textContent = initials(row.name || 'Guest');
    this.micOff.hidden = !row.audioMuted;
    this.videoExpected = row.kinds.includes('video') && !row.videoMuted;
    if (this.video.srcObject !== media) this.video.srcObject = media;
    if (sink && this.sink !== sink && this.video.setSinkId) {
      this.sink = sink;
      this.video.setSinkId(sink).catch(() => { this.sink = null; });
    }
    this.#sound(!this.own && sound);
    this.showNotice();
    this.#picture();
  }

  /** Says why there is no picture, or no new one. */
  showNotice() {
    const { connected, problem, history } = this.entry;
    const still = connected && !this.own && this.videoExpected && Boolean(history?.standsStill);
    this.notice.textContent = connected ? (still ? STILL : '') : texts(problem);
    this.notice.hidden = connected ? !still : this.own && !problem;
  }

  #picture() {
    const seen = this.videoExpected && this.video.videoWidth > 0;
    this.element.classList.toggle('no-picture', !seen);
  }

  #sound(on) {
    const wasMuted = this.video.muted;
    this.video.muted = !on;
    if (this.video.paused || wasMuted === on) {
      this.video.play().catch(error => {
        if (error.name !== 'NotAllowedError' || !on) return; // AbortError: the stream changed, play is called again
        this.video.muted = true;
        this.video.play().catch(() => {});
        this.soundBlocked();
      });
    }
  }

  #fullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else if (this.element.requestFullscreen) this.element.requestFullscreen().catch(() => {});
    else this.video.webkitEnterFullscreen?.(); // phones that only show a video in full
  }

  #figuresPanel() {
    this.plots = PLOTS.map(([label, series, text, floor]) => {
      const canvas = make('canvas', { 'aria-hidden': 'true' });
      const value = make('dd', {});
      return { canvas, value, series, text, floor, element: make('div', { class: 'plot' }, make('dt', { text: label }), value, canvas) };
    });
    this.codec = make('p', { class: 'codec' });
    this.path = make('p', { class: 'path' });
    return make('div', { class: 'figures' }, make('dl', { class: 'plots' }, ...this.plots.map(plot => plot.element)),
      make('div', { class: 'facts' }, this.codec, this.path));
  }

  /** Writes the newest figures. */
  showFigures(history, path) {
    const row = history.latest;
    this.figures.hidden = !row;
    if (!row) return;
    for (const { canvas, value, series, text, floor } of this.plots) {
      value.textContent = text(row);
      draw(canvas, history.series(series), { kept: KEPT, floor });
    }
    const size = row.width ? `${row.width}×${row.height}` : '';
    this.codec.textContent = [size, ...row.codecs].filter(Boolean).join(' · ');
    this.path.hidden = !path;
    if (path) {
      this.path.textContent = [PATHS[path.path] ?? path.path, path.encoder].filter(Boolean).join(' · ');
      this.path.title = path.reason ?? '';
    }
  }
}

export class Tiles {
  #tiles = new Map();
  #stage;
  #soundBlocked;

  constructor(stage, { soundBlocked }) {
    this.#stage = stage;
    this.#soundBlocked = soundBlocked;
    new ResizeObserver(() => this.#arrange()).observe(stage);
  }

  /** Shows exactly these entries, in this order. */
  update(entries, settings) {
    const gone = new Set(this.#tiles.keys());
    const order = entries.map(entry => {
      const key = entry.own ? 'own' : entry.row.key;
      gone.delete(key);
      if (!this.#tiles.has(key)) this.#tiles.set(key, new Tile({ own: entry.own, soundBlocked: this.#soundBlocked }));
      const tile = this.#tiles.get(key);
      tile.update(entry, settings);
      return tile.element;
    });
    for (const key of gone) {
      const tile = this.#tiles.get(key);
      tile.video.srcObject = null;
      tile.element.remove();
      this.#tiles.delete(key);
    }
    // moving a playing video interrupts it, so only what is out of place is moved
    order.forEach((element, index) => {
      if (this.#stage.children[index] !== element) this.#stage.insertBefore(element, this.#stage.children[index] ?? null);
    });
    this.#arrange();
  }

  showNotices() {
    for (const tile of this.#tiles.values()) tile.showNotice();
  }

  showFigures(pathOf) {
    for (const tile of this.#tiles.values()) tile.showFigures(tile.entry.history, pathOf(tile.entry));
  }

  #arrange() {
    const style = getComputedStyle(this.#stage);
    const width = this.#stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const height = this.#stage.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    const { tile } = arrange(this.#tiles.size, width, height, { gap: parseFloat(style.columnGap) || 0 });
    this.#stage.style.setProperty('--tile-width', `${tile}px`);
  }
}
