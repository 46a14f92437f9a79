// node vamp_server.mjs PORT [2|4]: the mesh server that vamp's client needs, on socket.io 2.5.1, or on 4 for clients of both versions.
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import socketIo from 'socket.io-2';

const [port, version = '2'] = process.argv.slice(2);
const http = createServer();
const io = version === '2' ? socketIo(http) : new Server(http, { allowEIO3: true, cors: { origin: true, credentials: true } });
/** Vamp to the ids of its members, in the order of their coming. */
const vamps = new Map();
io.on('connection', socket => {
  let vamp;
  const leave = () => {
    const members = vamps.get(vamp);
    if (!members) return;
    members.delete(socket.id);
    for (const id of members) io.to(id).emit('user left', socket.id);
    if (members.size === 0) vamps.delete(vamp);
  };
  const join = name => {
    if (typeof name !== 'string' || name === vamp) return;
    leave();
    vamp = name;
    const members = vamps.get(vamp) ?? new Set();
    socket.emit('all users', [...members]);
    vamps.set(vamp, members.add(socket.id));
  };
  const to = (id, event, message) => { if (vamps.get(vamp)?.has(id)) io.to(id).emit(event, message); };
  socket.on('join vamp', join);
  socket.on('join room', join);
  socket.on('sending signal', message => to(message?.userToSignal, 'user joined', { signal: message?.signal, callerID: socket.id }));
  socket.on('returning signal', message => to(message?.callerID, 'receiving returned signal', { signal: message?.signal, id: socket.id }));
  socket.on('disconnect', leave);
});
http.listen(Number(port), '127.0.0.1', () => console.log(`listening on ${http.address().port}`));
