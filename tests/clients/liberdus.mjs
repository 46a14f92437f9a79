// node liberdus.mjs BASE: a Liberdus client as its document describes it: node-fetch, ws, simple-peerjs with TLS and the profile's path
// and key. It looks a node up in the node list, connects to its peer id and asks for an account, then injects a transaction.
import { createRequire } from 'node:module';
import wrtc from '@roamhq/wrtc';
import fetch from 'node-fetch';
import { WebSocket } from 'ws';
import { words } from './lib/args.mjs';
import { withNode } from './lib/node_client.mjs';
import { until } from './lib/until.mjs';

const SimplePeerJs = createRequire(import.meta.url)('simple-peerjs');
const [base] = words;
const { hostname, port, protocol } = new URL(base);
const secure = protocol === 'https:';
// the certificate of a test is nobody's
if (secure) process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';

await withNode(async () => {
  const list = await (await fetch(`${base}/liberdus-peer/nodes`)).json();
  const { nodeInfo } = list[0];
  const connections = new SimplePeerJs({
    host: hostname, port: Number(port), path: '/liberdus-peer', key: 'liberdus', secure, fetch, WebSocket, wrtc,
    simplePeer: { config: { iceServers: [] } },
  });
  const failed = new Promise((_, reject) => connections.on('error', error => reject(new Error(`${error.type ?? error}`))));
  const id = await Promise.race([connections.id, failed]);
  const { peer } = await Promise.race([connections.connect(nodeInfo.peerId), failed]);
  const heard = [];
  // the library hands out bytes
  peer.on('data', data => heard.push(JSON.parse(data.toString())));
  const ask = request => peer.send(JSON.stringify({ ...request, sender: id }));
  ask({ url: 'account/id', method: 'GET', body: { id: 'abc123' } });
  await until('the account', () => heard.length === 1);
  ask({ url: 'inject', method: 'POST', body: { amount: 1 } });
  // not answered: what is asked after it is
  ask({ url: 'account/id', method: 'GET', body: { id: 'def456' } });
  await until('the second account', () => heard.filter(({ type }) => type === 'account').length === 2);
  connections.close();
  return { list, id, heard };
});
