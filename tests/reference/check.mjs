// node check.mjs [PATTERN]: starts the original servers on free ports of loopback and runs the scripts of tests/clients against them, those
// whose name matches. All pass here, so what fails against Portico is Portico's.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';

const here = name => fileURLToPath(new URL(name, import.meta.url));
const bin = name => here(`node_modules/.bin/${name}`);

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
/** Server, and the scripts with their arguments, given its port. */
const SERVERS = [
  [port => [bin('peerjs'), '--port', port, '--path', '/', '--key', 'peerjs', '--allow_discovery'], port => [
    ['peerjs_data.mjs', `http://127.0.0.1:${port}`, '/', 'peerjs'],
    ['peerjs_data.mjs', `http://127.0.0.1:${port}`, '/', 'peerjs', '--versions=1.4.7,1.5.5', '--forms=binary,raw'],
    ['peerjs_media.mjs', `http://127.0.0.1:${port}`, '/', 'peerjs'],
    ['peerjs_broker.mjs', `http://127.0.0.1:${port}`, '/', 'peerjs', 'allowed'],
    ['simple_peerjs.mjs', `http://127.0.0.1:${port}`, '/', 'peerjs'],
    ['suite_peerjs.mjs', `http://127.0.0.1:${port}`, '/', 'peerjs', 'allowed'],
  ]],
  [port => [bin('peerjs'), '--port', port, '--path', '/liberdus-peer', '--key', 'liberdus'], port => [
    ['peerjs_broker.mjs', `http://127.0.0.1:${port}`, '/liberdus-peer', 'liberdus', 'refused'],
    ['simple_peerjs.mjs', `http://127.0.0.1:${port}`, '/liberdus-peer', 'liberdus'],
    ['suite_peerjs.mjs', `http://127.0.0.1:${port}`, '/liberdus-peer', 'liberdus', 'refused'],
  ]],
  [port => [here('vamp_server.mjs'), port, '2'], port => [
    ['vamp_mesh.mjs', `http://127.0.0.1:${port}`, '2'],
    ['vamp_record.mjs', `http://127.0.0.1:${port}`, '2'],
    ['suite_engineio.mjs', `http://127.0.0.1:${port}/socket.io/`, '3'],
  ]],
  [port => [here('vamp_server.mjs'), port, '4'], port => [
    ['vamp_mesh.mjs', `http://127.0.0.1:${port}`, '4'],
    ['vamp_mesh.mjs', `http://127.0.0.1:${port}`, 'mixed'],
    ['vamp_record.mjs', `http://127.0.0.1:${port}`, '4'],
    ['suite_engineio.mjs', `http://127.0.0.1:${port}/socket.io/`, 'both'],
  ]],
  [port => [bin('sigver'), '--host', '127.0.0.1', '--port', port], port => [
    ['netflux_group.mjs', `ws://127.0.0.1:${port}`],
    ['netflux_group.mjs', `ws://127.0.0.1:${port}/sigver`],
    ['suite_sigver.mjs', `ws://127.0.0.1:${port}`],
  ]],
  [port => [bin('webrtc-star'), '--host', '127.0.0.1', '--port', port], port => [
    ['star.mjs', `http://127.0.0.1:${port}`],
    ['suite_star.mjs', `http://127.0.0.1:${port}`],
  ]],
  [port => [here('algorea_server.mjs'), port], port => [['algorea.mjs', `ws://127.0.0.1:${port}/algorea`]]],
];

const start = args => spawn(process.execPath, args.map(String), { stdio: ['ignore', 'pipe', 'pipe'] });
async function listening(port) {
  for (const end = Date.now() + 20000; Date.now() < end; await new Promise(done => setTimeout(done, 100))) {
    const socket = connect(port, '127.0.0.1');
    if (await new Promise(done => { socket.on('connect', () => done(true)); socket.on('error', () => done(false)); })) return socket.destroy();
  }
  throw new Error(`nothing listens on ${port}`);
}
async function run([script, ...args]) {
  const child = start([here(`../clients/${script}`), ...args]);
  let out = '';
  child.stdout.on('data', data => { out += data; });
  child.stderr.resume();
  await once(child, 'close');
  try { return JSON.parse(out.trim().split('\n').at(-1)); } catch { return { ok: false, error: `no JSON at the end of ${out.slice(-300)}` }; }
}

const pattern = new RegExp(process.argv[2] ?? '');
let failures = 0;
for (const [server, scripts] of SERVERS) {
  const port = await freePort();
  const wanted = scripts(port).filter(([script]) => pattern.test(script));
  if (wanted.length === 0) continue;
  const child = start(server(port));
  child.stdout.resume();
  child.stderr.resume();
  try {
    await listening(port);
    for (const command of wanted) {
      const began = Date.now();
      const result = await run(command);
      console.log(`${result.ok ? 'passed' : 'FAILED'}  ${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s  ${command.join(' ')}`);
      if (!result.ok) { failures += 1; console.log(result.error); }
    }
  } finally {
    child.kill();
  }
}
process.exitCode = failures > 0 ? 1 : 0;
