// What clients in Node stand on: the WebRTC classes of @roamhq/wrtc, noted, and the `ws` socket. Also the frame of a script.
import wrtc from '@roamhq/wrtc';
import { WebSocket } from 'ws';
import { recorded } from './recorded.mjs';

/** Globals for a client that runs in Node, new for each client. */
export function nodeEnv() {
  const notes = recorded(wrtc);
  return { ...wrtc, ...notes, WebSocket, wrtc: { ...wrtc, RTCPeerConnection: notes.RTCPeerConnection } };
}

/** Runs a scenario without a browser; prints its result as one JSON object on the last line and ends. */
export async function withNode(scenario) {
  const logs = [];
  process.on('unhandledRejection', error => logs.push(`unhandled: ${error?.stack ?? error}`));
  let line;
  try {
    line = JSON.stringify({ ok: true, ...await scenario(logs) });
  } catch (error) {
    line = JSON.stringify({ ok: false, error: String(error.stack ?? error), logs: logs.slice(-30) });
    process.exitCode = 1;
  }
  // open connections would keep the process
  process.stdout.write(`${line}\n`, () => process.exit());
}
