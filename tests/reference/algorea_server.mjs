// node algorea_server.mjs PORT: a small server of the algorea workflow, written from its document, to check the test client against. Query:
// `variant` (document or branch) and `room`.
import { randomBytes, randomUUID } from 'node:crypto';
import { WebSocketServer } from 'ws';

const peers = new Map();
const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]), maxPayload: 128 * 1024 });
server.on('listening', () => console.log(`listening on ${server.address().port}`));
server.on('connection', (socket, request) => {
  const query = new URL(request.url, 'http://any').searchParams;
  const own = { id: randomBytes(16).toString('base64url'), socket, room: query.get('room') ?? 'algorea', branch: query.get('variant') === 'branch' };
  const send = (to, message) => to.socket.send(JSON.stringify(message));
  const refuse = (message, code) => send(own, { type: 'error', message, connectionId: own.id, requestId: randomUUID(), code });
  const peerIds = [...peers.values()].filter(peer => peer.room === own.room).map(peer => peer.id);
  peers.set(own.id, own);
  send(own, { type: own.branch ? 'peers' : 'connected-peers', peerIds });
  socket.on('close', () => peers.delete(own.id));
  socket.on('message', data => {
    let message;
    try { message = JSON.parse(data); } catch { return refuse('Internal server error', 'bad-json'); }
    const fromPeerId = own.id;
    const forward = shape => {
      const to = peers.get(message.toPeerId);
      if (!to || to === own || to.room !== own.room) return refuse('Internal server error', 'peer-not-connected');
      send(to, shape(to));
    };
    switch (message.action) {
      case 'heartbeat': return;
      case 'forward-offer': return forward(() => ({ type: 'offer', offer: message.offer, fromPeerId }));
      case 'forward-answer': return forward(() => ({ type: 'answer', answer: message.answer, fromPeerId }));
      case 'forward-icecandidate':
      case 'forward-ice-candidate': {
        const candidate = message.candidate ?? message.iceCandidate;
        if (!candidate) return;
        return forward(to => to.branch ? { type: 'ice-candidate', iceCandidate: candidate, fromPeerId } : { type: 'icecandidate', candidate, fromPeerId });
      }
      default: return refuse('Forbidden', 'unknown-action');
    }
  });
});
