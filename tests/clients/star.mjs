// node star.mjs URL [BYTES]: two libp2p nodes with @libp2p/webrtc-star in Node listen on the server at URL (http://127.0.0.1:port), discover
// each other, dial, and echo bytes (1 MiB) over a stream of a protocol.
import { words } from './lib/args.mjs';
import { withNode } from './lib/node_client.mjs';
import { PROTOCOL, createNode } from './lib/star.mjs';
import { until } from './lib/until.mjs';

const [url, size = '1048576'] = words;
/** Sends bytes over a stream, and counts and compares what comes back. */
async function echo(from, to, bytes) {
  const stream = await from.node.dialProtocol(to.node.peerId, PROTOCOL);
  const sent = stream.sink(async function* () {
    for (let at = 0; at < bytes.length; at += 16384) yield bytes.subarray(at, at + 16384);
  }());
  const back = [];
  for await (const part of stream.source) back.push(Buffer.from(part.subarray()));
  await sent;
  if (!Buffer.concat(back).equals(Buffer.from(bytes))) throw new Error('other bytes came back');
  return bytes.length;
}

await withNode(async logs => {
  process.on('uncaughtException', error => logs.push(`uncaught: ${error.stack ?? error}`));
  const [a, b] = [await createNode(url), await createNode(url)];
  const result = { a: a.id, b: b.id, addresses: a.node.getMultiaddrs().map(String) };
  for (const [one, other] of [[a, b], [b, a]]) await until(`the discovery of ${other.id}`, () => one.discovered.has(other.id));
  const bytes = Uint8Array.from({ length: Number(size) }, (_, i) => (i * 31 + (i >> 8)) & 255);
  result.echoed = await echo(a, b, bytes);
  result.back = await echo(b, a, bytes.subarray(0, 1000));
  result.connections = a.node.getConnections().map(connection => connection.remoteAddr.toString());

  // one that has gone is no longer discovered nor reached
  await b.node.stop();
  await until('the end of the connection', () => a.node.getConnections().length === 0);
  result.absent = await a.node.dial(b.node.peerId, { signal: AbortSignal.timeout(20000) }).then(() => 'connected', error => String(error.code ?? error.message));
  if (result.absent === 'connected') throw new Error('a stopped node was reached');
  await a.node.stop();
  return result;
});
