// What a room looks like from one visitor's place. Pure: messages in, a new state out; knows no DOM, no socket, no media.

/** The state before anything was told. */
export const nothing = () => ({ room: '', me: null, size: 0, iceServers: [], members: new Map() });

/** The key of a stream among all streams of a room. */
export const keyOf = (member, stream) => `${member}/${stream}`;

/** The state after one message of the gateway. Unknown messages and members change nothing. */
export function apply(state, message) {
  switch (message.type) {
    case 'welcome':
      return {
        room: message.room,
        me: message.member,
        size: message.size,
        iceServers: message.iceServers ?? [],
        members: new Map(message.members.map(member => [member.id, member])),
      };
    case 'joined':
      return withMember({ ...state, size: message.size }, message.member);
    case 'changed':
      return withMember(state, message.member);
    case 'left': {
      const members = new Map(state.members);
      members.delete(message.member);
      return { ...state, size: message.size, members };
    }
    case 'stream-up':
      return withStreams(state, message.member, streams => [
        ...streams.filter(stream => stream.name !== message.stream.name),
        message.stream,
      ]);
    case 'stream-down':
      return withStreams(state, message.member, streams => streams.filter(stream => stream.name !== message.stream));
    default:
      return state;
  }
}

function withMember(state, member) {
  if (member.id === state.me) return state;
  return { ...state, members: new Map(state.members).set(member.id, member) };
}

function withStreams(state, id, change) {
  const member = state.members.get(id);
  if (!member) return state;
  return withMember(state, { ...member, streams: change(member.streams) });
}

/** Members that are no people: what the gateway gives the room. */
const OURS = ['source', 'mix'];

/** Members that stand for nobody in particular: bridges to other places, not whom they brought from there. */
const isBridge = member => member.dialect === 'bridge' && !member.via;

/** Every stream that can be watched: sources first, then the members in the order in which they came. */
export function streamsOf(state) {
  const rows = [...state.members.values()].flatMap(member => member.streams.map(stream => ({
    key: keyOf(member.id, stream.name),
    member: member.id,
    name: member.name,
    stream: stream.name,
    kinds: stream.kinds,
    dialect: member.dialect,
    source: OURS.includes(member.dialect),
    audioMuted: member.audioMuted,
    videoMuted: member.videoMuted,
  })));
  return [...rows.filter(row => row.source), ...rows.filter(row => !row.source)];
}

/** Members without a stream: those who only watch, and in a mixed room all. A source without a stream is not one of them, nor is a bridge. */
export const watchersOf = state =>
  [...state.members.values()].filter(member => member.streams.length === 0 && !OURS.includes(member.dialect) && !isBridge(member));

/** Bridges that give the room nothing now: they send it elsewhere, or wait for what they are to bring. */
export const bridgesOf = state => [...state.members.values()].filter(member => member.streams.length === 0 && isBridge(member));

/** Whether everybody is in one picture. */
export const isMixed = state => [...state.members.values()].some(member => member.dialect === 'mix');

/** Sources that belong to the room and give nothing now: a camera that is unplugged. What gives its picture to a mix is not told of. */
export const absentSourcesOf = state =>
  [...state.members.values()].filter(member => member.streams.length === 0 && member.dialect === 'source' && !isMixed(state));

/** How many people: members that are not the gateway's own, oneself included. */
export const peopleIn = state =>
  [...state.members.values()].filter(member => !OURS.includes(member.dialect) && !isBridge(member)).length + (state.me ? 1 : 0);
