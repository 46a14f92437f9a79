// sigver's messages as bytes, for checks that need every byte in hand: protobuf, as far as it is used.

const varint = value => {
  const out = [];
  for (value >>>= 0; value > 127; value >>>= 7) out.push((value & 127) | 128);
  return [...out, value];
};
const field = (number, value) => Array.isArray(value) ? [number << 3 | 2, ...varint(value.length), ...value] : [number << 3, ...varint(Number(value))];

export const heartbeat = value => Buffer.from(field(1, value ?? true));
export const connected = value => Buffer.from(field(4, value));
/** `members` packed as the real client writes them, or not. */
export const connect = (id, members = [], packed = true) => {
  const list = packed ? (members.length > 0 ? field(2, members.flatMap(varint)) : []) : members.flatMap(member => field(2, member));
  return Buffer.from(field(3, [...field(1, id), ...list]));
};
export const content = ({ senderId = 0, recipientId = 0, lastData = false, data }) =>
  Buffer.from(field(2, [...field(1, senderId), ...field(2, recipientId), ...field(3, lastData), ...data ? field(4, [...data]) : []]));

/** Fields of a message: `[number, value]`, a value being a number or bytes. */
function fields(bytes) {
  const found = [];
  let at = 0;
  const read = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error('a message that is cut off');
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(value);
    }
  };
  while (at < bytes.length) {
    const tag = read();
    if ((tag & 7) === 0) found.push([tag >> 3, read()]);
    else if ((tag & 7) === 2) {
      const length = read();
      found.push([tag >> 3, bytes.subarray(at, at += length)]);
    } else throw new Error(`wire type ${tag & 7}`);
  }
  return found;
}

/** `{ heartbeat }`, `{ connected }` or `{ content: { senderId, recipientId, lastData, data } }`. */
export function decode(bytes) {
  const [[number, value]] = fields(bytes);
  if (number === 1) return { heartbeat: value === 1 };
  if (number === 4) return { connected: value === 1 };
  if (number !== 2) throw new Error(`a server does not send field ${number}`);
  const inner = Object.fromEntries(fields(value));
  return { content: { senderId: inner[1], recipientId: inner[2], lastData: inner[3], data: inner[4] && Buffer.from(inner[4]) } };
}
