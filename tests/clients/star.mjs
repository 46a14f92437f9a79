// node star.mjs URL [BYTES [VERSIONS]]: two libp2p nodes with @libp2p/webrtc-star in Node listen on the server at URL (http://127.0.0.1:port),
// discover each other, dial, and echo bytes (1 MiB) over a stream of a protocol. VERSIONS are theirs of webrtc-star: `7,7`, `3,7`, …
import { words } from './lib/args.mjs';
import { withNode } from './lib/node_client.mjs';
import { echo, pair } from './lib/star.mjs';
import { until } from './lib/until.mjs';

const [url, size = '1048576', versions = '7,7'] = words;

await withNode(async logs => {
  process.on('uncaughtException', error => logs.push(`uncaught: ${error.stack ?? error}`));
  const [a, b] = await pair(url, versions.split(','));
  const result = { a: a.id, b: b.id, addresses: a.node.getMultiaddrs().map(String) };
  const bytes = Uint8Array.from({ length: Number(size) }, (_, i) => (i * 31 + (i >> 8)) & 255);
  result.echoed = await echo(a, b, bytes);
  result.back = await echo(b, a, bytes.subarray(0, 1000));
  result.connections = a.node.getConnections().map(connection => connection.remoteAddr.toString());

  // one that has gone is no longer discovered nor reached
  await b.node.stop();
  await until('the end of the connection', () => a.node.getConnections().length === 0);
  result.absent = await a.node.dial(a.discovered.get(b.id), { signal: AbortSignal.timeout(20000) }).then(() => 'connected', error => String(error.code ?? error.message));
  if (result.absent === 'connected') throw new Error('a stopped node was reached');
  await a.node.stop();
  return result;
});
