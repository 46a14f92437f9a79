// node star_server.mjs PORT: the signalling server of webrtc-star as published, with the metrics that its own start script has on.
import { sigServer } from '@libp2p/webrtc-star-signalling-server';

const server = await sigServer({ host: '127.0.0.1', port: Number(process.argv[2]), metrics: true });
console.log(`listening on ${server.info.port}`);
