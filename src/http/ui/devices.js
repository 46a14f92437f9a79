// Which cameras, microphones and speakers there are, and the dialogue that chooses among them.

import { byId, make } from './dom.js';
import { choice } from './settings.js';

const KINDS = { videoinput: 'camera', audioinput: 'microphone', audiooutput: 'speaker' };
const WORDS = { camera: 'Camera', microphone: 'Microphone', speaker: 'Speaker' };

/** Only some browsers can send sound to a chosen speaker. */
export const canChooseSpeaker = () => 'setSinkId' in HTMLMediaElement.prototype && Boolean(navigator.mediaDevices?.enumerateDevices);

/** Devices by role, from what `enumerateDevices` gives. Without permission browsers hide ids: such entries are left out. */
export function byRole(devices) {
  const roles = { camera: [], microphone: [], speaker: [] };
  for (const device of devices) {
    const role = KINDS[device.kind];
    if (!role || !device.deviceId) continue;
    roles[role].push({ id: device.deviceId, label: device.label || `${WORDS[role]} ${roles[role].length + 1}` });
  }
  return roles;
}

export class DeviceDialog {
  #dialog = byId('devices');
  #current;
  #chosen;

  /** `current()` gives the ids in use by role; `chosen(role, id)` is called for each change. */
  constructor({ current, chosen }) {
    this.#current = current;
    this.#chosen = chosen;
    for (const role of Object.values(KINDS)) {
      byId(`device-${role}`).addEventListener('change', event => {
        choice(role, event.target.value);
        this.#chosen(role, event.target.value);
      });
    }
    navigator.mediaDevices?.addEventListener?.('devicechange', () => this.#dialog.open && this.refresh());
  }

  async open() {
    await this.refresh();
    this.#dialog.showModal();
  }

  async refresh() {
    const devices = await navigator.mediaDevices?.enumerateDevices?.().catch(() => []) ?? [];
    const roles = byRole(devices);
    if (!canChooseSpeaker()) roles.speaker = [];
    const current = this.#current();
    for (const [role, entries] of Object.entries(roles)) {
      const select = byId(`device-${role}`);
      const chosen = current[role] || choice(role);
      select.replaceChildren(...entries.map(({ id, label }) => make('option', { value: id, text: label, selected: id === chosen })));
      select.closest('.field').hidden = entries.length === 0;
    }
    byId('devices-none').hidden = Object.values(roles).some(entries => entries.length > 0);
  }
}
