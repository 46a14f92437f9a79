// Engine.IO by hand: sessions by polling and by websocket in both protocols, for checks that need the bytes.
import { WebSocket } from 'ws';
import { until } from './until.mjs';

const SEPARATOR = '\u001e';

/** `root` is the Socket.IO address with its path, such as http://127.0.0.1:8780/socket.io/. */
export const at = (root, query) => `${root}?${new URLSearchParams(query)}`;

/** Packets of a payload. Lengths of protocol 3 count UTF-16 units, as strings do here. */
export function unpack(protocol, payload) {
  if (protocol === 4) return payload.split(SEPARATOR);
  const packets = [];
  for (let rest = payload; rest !== '';) {
    const [, length] = /^(\d+):/.exec(rest) ?? [];
    if (length === undefined) throw new Error(`no length in ${JSON.stringify(rest.slice(0, 40))}`);
    const start = length.length + 1;
    if (rest.length < start + Number(length)) throw new Error(`a length beyond the payload: ${JSON.stringify(rest.slice(0, 40))}`);
    packets.push(rest.slice(start, start + Number(length)));
    rest = rest.slice(start + Number(length));
  }
  return packets;
}
export const pack = (protocol, packets) => protocol === 4 ? packets.join(SEPARATOR) : packets.map(packet => `${packet.length}:${packet}`).join('');

/** A session by polling. */
export async function polling(root, protocol) {
  const query = { EIO: protocol, transport: 'polling', b64: 1 };
  const response = await fetch(at(root, query));
  if (response.status !== 200) throw new Error(`handshake: ${response.status} ${await response.text()}`);
  const payload = await response.text();
  const heard = unpack(protocol, payload);
  const opened = JSON.parse(heard.shift().slice(1));
  const session = {
    protocol, opened, heard, sid: opened.sid, type: response.headers.get('content-type'),
    query: { ...query, sid: opened.sid },
    get: () => fetch(at(root, { ...session.query, t: Math.random() })),
    post: (...packets) => session.postRaw(pack(protocol, packets)),
    postRaw: body => fetch(at(root, { ...session.query, t: Math.random() }), { method: 'POST', headers: { 'Content-Type': 'text/plain;charset=UTF-8' }, body }),
    /** The next packet that fits; polls for more, leaves others aside. Pings of protocol 4 are answered. */
    async next(fits) {
      for (const end = Date.now() + 30000; Date.now() < end;) {
        const found = heard.findIndex(fits);
        if (found >= 0) return heard.splice(found, 1)[0];
        const answer = await session.get();
        if (answer.status !== 200) throw new Error(`poll: ${answer.status} ${await answer.text()}`);
        const packets = unpack(protocol, await answer.text());
        if (protocol === 4 && packets.includes('2')) await session.post('3');
        heard.push(...packets);
      }
      throw new Error(`no such packet in ${JSON.stringify(heard)}`);
    },
    /** Goes through the Socket.IO connect. */
    async enter() {
      if (protocol === 4) await session.post('40');
      await session.next(packet => packet.startsWith('40'));
      return session;
    },
    emit: (...event) => session.post(`42${JSON.stringify(event)}`),
    event: async name => JSON.parse((await session.next(packet => packet.startsWith(`42["${name}"`))).slice(2))[1],
  };
  return session;
}

/** A websocket, with what it hears. With `sid` it is the upgrade of a session. */
export async function websocket(root, protocol, sid) {
  const socket = new WebSocket(at(root.replace(/^http/, 'ws'), { ...protocol ? { EIO: protocol } : {}, transport: 'websocket', ...sid ? { sid } : {} }));
  const link = { socket, heard: [], closed: undefined };
  socket.on('message', (data, binary) => link.heard.push(binary ? data : data.toString()));
  socket.on('close', code => { link.closed = { code }; });
  socket.on('error', error => { link.error = error; });
  link.say = data => socket.send(data);
  link.next = fits => until('a packet', () => {
    const found = link.heard.findIndex(fits);
    if (found >= 0) return link.heard.splice(found, 1);
    if (link.closed || link.error) throw new Error(`the websocket ended: ${JSON.stringify(link.closed)} ${link.error ?? ''}`);
    return undefined;
  }, 60000).then(([packet]) => packet);
  link.ended = () => until('the end of the websocket', () => link.closed, 60000);
  link.emit = (...event) => link.say(`42${JSON.stringify(event)}`);
  link.event = async name => JSON.parse((await link.next(packet => packet.startsWith?.(`42["${name}"`))).slice(2))[1];
  if (!sid) link.opened = JSON.parse((await link.next(packet => packet.startsWith?.('0'))).slice(1));
  link.enter = async () => {
    if (protocol === 4) link.say('40');
    link.connected = await link.next(packet => packet.startsWith?.('40'));
    return link;
  };
  return link;
}
