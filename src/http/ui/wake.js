// Keeps a phone's screen on while a room is shown. Where the browser cannot, nothing happens.

let wanted = false;
let lock = null;

async function hold() {
  if (!wanted || lock || document.visibilityState !== 'visible') return;
  try {
    lock = await navigator.wakeLock?.request('screen') ?? null;
    lock?.addEventListener('release', () => { lock = null; });
    if (!wanted) lock?.release();
  } catch {
    // battery saver: the screen goes off as usual
  }
}

/** On while a room is shown, off elsewhere. */
export function keepAwake(on) {
  wanted = on;
  if (on) hold();
  else lock?.release();
}

globalThis.document?.addEventListener('visibilitychange', hold); // a hidden page loses the lock
