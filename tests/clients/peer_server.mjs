// node peer_server.mjs PORT: the PeerJS server as published, on loopback. Says when it listens.
import { PeerServer } from 'peer';

const port = Number(process.argv[2]);
PeerServer({ host: '127.0.0.1', port, path: '/' }, () => console.log(`listening on ${port}`));
