// Every text that is told about a state or an error. One place, so that they sound alike.

/** What a refusal or an end means to a visitor: `{title, detail, token, retry}`. `token` asks for one; `retry` offers a button. */
export function problem({ code, reason, message }, { room } = {}) {
  switch (code ?? reason) {
    case 'room_full':
      return { title: 'This room is full', detail: 'Nobody else can enter until someone leaves.', retry: true };
    case 'unauthorised':
      return { title: 'This room needs a token', detail: `${/needed/.test(message ?? '') ? '' : sentence(message)} Whoever runs this gateway can make one with “portico token”.`.trim(), token: true };
    case 'forbidden':
      return { title: 'Not allowed', detail: `Your token does not let you into “${room}”. Another token may.`, token: true };
    case 'unknown_room':
      return { title: 'There is no such room', detail: `This gateway has no room “${room}”, and it does not open new ones.` };
    case 'too_many_rooms':
      return { title: 'No more rooms', detail: 'This gateway has as many rooms open as it may.', retry: true };
    case 'wrong_topology':
      return { title: 'This room cannot be shown here', detail: 'Its members connect directly to each other; this page does not.' };
    case 'malformed':
      return { title: 'That name does not work', detail: sentence(message) };
    case 'stopping':
      return { title: 'The gateway is restarting', detail: 'You will be back as soon as it answers.' };
    case 'evicted':
      return { title: 'You were removed from the room', detail: 'Whoever runs this gateway ended your visit.', retry: true };
    case 'replaced':
      return { title: 'You are here in another place', detail: 'Another session took yours.', retry: true };
    case 'expired':
      return { title: 'Your token has expired', detail: 'A new one lets you in again.', token: true };
    case 'left':
      return { title: 'You left the room', detail: '', retry: true };
    default:
      return { title: 'The gateway refused', detail: sentence(message) || 'It did not say why.', retry: true };
  }
}

/** Why camera or microphone cannot be had. `kind` is what was asked for: both when it is left out. */
export function device(error, { kind, host = '', room = '' } = {}) {
  const what = { video: 'camera', audio: 'microphone' }[kind] ?? 'camera and microphone';
  switch (error.name) {
    case 'InsecurePage':
      return {
        title: 'This page is not encrypted',
        detail: 'Browsers give no camera or microphone to plain http pages from another machine. Open the https address of this gateway instead; watching works here too.',
        link: `https://${host}/#room=${encodeURIComponent(room)}`,
      };
    case 'NotAllowedError':
    case 'SecurityError':
      return { title: `Permission for ${what} was denied`, detail: 'Allow it in the browser’s settings for this page (the icon beside the address), then try again. You can go on watching.' };
    case 'NotFoundError':
    case 'OverconstrainedError':
      return { title: kind ? `No ${what} found` : 'No camera or microphone found', detail: 'Connect one and try again.' };
    case 'NotReadableError':
    case 'AbortError':
      return { title: `The ${what} cannot be opened`, detail: 'Another program or tab is probably using it. Close that and try again.' };
    default:
      return { title: `The ${what} cannot be opened`, detail: sentence(error.message) };
  }
}

/** One half is there, the other not. */
export const half = kind => (kind === 'video' ? 'You joined with your microphone only.' : 'You joined with your camera only.');

/** A device went away while live. */
export const deviceLost = kind => (kind === 'video' ? 'Your camera was disconnected.' : 'Your microphone was disconnected.');

/** Why the own stream was not taken. */
export function unpublished({ code, message }) {
  if (code === 'forbidden' || code === 'unauthorised') return 'You may watch this room, but not join it with a camera. A token with the right to publish is needed.';
  if (code === 'no_common_codec') return 'This browser offers no codec that the gateway can forward.';
  if (code === 'too_many') return 'The gateway takes no more streams now.';
  return `The gateway did not take your stream. ${sentence(message)}`.trim();
}

/** Why something that was said did not reach the others. */
export function unsaid({ code, message }) {
  if (code === 'forbidden' || code === 'unauthorised') return 'Not sent: you may watch this room, but not write in it.';
  if (code === 'too_long') return 'Not sent: it is too long.';
  if (code === 'lost') return 'Perhaps not sent: the connection was lost.';
  return `Not sent. ${sentence(message)}`.trim();
}

/** What a tile says while it has no picture. */
export function tile(code) {
  switch (code) {
    case null:
    case undefined:
      return 'Connecting…';
    case 'source_failed':
      return 'The source cannot be opened. Trying again…';
    case 'overloaded':
      return 'The gateway is too hot or too busy for another viewer. Trying again…';
    case 'no_common_codec':
      return 'This browser cannot play this stream.';
    case 'forbidden':
    case 'unauthorised':
      return 'You may not watch this stream.';
    case 'unconnected':
    case 'never_connected':
    case 'lost':
      return 'No connection for media. A firewall may block UDP. Trying again…';
    case 'stream_ended':
    case 'unknown_stream':
    case 'unknown_member':
      return 'The stream has ended.';
    default:
      return 'Interrupted. Trying again…';
  }
}

/** What a tile says over a picture of which no newer one arrives. */
export const STILL = 'No new picture arrives just now.';

/** The line about the websocket: null when there is nothing to say. */
export function connection(phase, { problem: why, seconds } = {}) {
  if (phase === 'connecting') return 'Connecting…';
  if (phase !== 'waiting') return null;
  const what = why?.reason === 'stopping' ? 'The gateway is restarting.' : 'Connection lost.';
  return seconds > 0 ? `${what} Trying again in ${seconds} s.` : `${what} Trying again…`;
}

/** Why the list of rooms cannot be shown, by HTTP status; 0 when nobody answered. */
export function list(status) {
  if (status === 0) return { title: 'The gateway does not answer', detail: 'Trying again…' };
  if (status === 401) return { title: 'This gateway needs a token', detail: 'Whoever runs it can make one with “portico token”.', token: true };
  if (status === 403) return { title: 'Not allowed', detail: 'Your token does not show the list of rooms. You can still enter one by its name.', token: true };
  return { title: 'The list of rooms cannot be read', detail: `The gateway answered with status ${status}. Trying again…` };
}

/** How a source reaches the viewer, for people. */
export const PATHS = {
  pass: 'passed through', repacketise: 'sent as it is', layer: 'shared layer', hardware: 'hardware encoder', software: 'software encoder',
};

/** How many and of what: `count(2, 'viewer')`. */
export const count = (number, word) => `${number} ${word}${number === 1 ? '' : 's'}`;

/** A lower-case message of the gateway as a sentence. */
function sentence(text) {
  if (!text) return '';
  const trimmed = text.trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? '' : '.');
}
