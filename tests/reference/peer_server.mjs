// node peer_server.mjs PORT: the PeerJS server as published, with room for a load of clients. Its default limit is 5000.
import { PeerServer } from 'peer';

const port = Number(process.argv[2]);
PeerServer({ host: '127.0.0.1', port, path: '/', concurrent_limit: 100000 }, () => console.log(`listening on ${port}`));
