// node vamp_slow.mjs URL VAMP: in an `sfu` vamp one records far more than a connection holds while one of two listeners stands still (its process is
// stopped). The other hears on as if nothing were; the one that stood still then gets all of it, each frame once and in order. Nothing is closed.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { option, words } from './lib/args.mjs';
import { withNode } from './lib/node_client.mjs';
import { until } from './lib/until.mjs';
import { connect } from './lib/vamp.mjs';

const [url, vamp] = words;
// 10 MB: more than the stacks of both ends and the kernel take
const COUNT = 160, SIZE = 65536;
const HEAD = { userId: 'u0', startTime: 1 };

if (option('listen') !== undefined) {
  const one = await connect(null, { url, vamp, user: 'slow' });
  await until('the others', () => one.peers().length === 2);
  process.send({ ready: true });
  await until('the whole clip', () => one.clips().some(clip => clip.bytes >= COUNT * SIZE));
  await new Promise(done => setTimeout(done, 500));
  process.send({ clips: one.clips(), events: one.events() }, () => setTimeout(() => { one.leave(); setTimeout(() => process.exit(), 300); }, 1000));
} else {
  await withNode(async () => {
    const a = await connect(null, { url, vamp, user: 'u0' });
    const b = await connect(null, { url, vamp, user: 'u1' });
    await until('both', () => a.peers().length === 1 && b.peers().length === 1);
    const slow = fork(fileURLToPath(import.meta.url), [url, vamp, '--listen=1']);
    const said = [];
    slow.on('message', message => said.push(message));
    const ended = new Promise(done => slow.on('exit', done));
    await until('the slow one', () => said.length > 0);
    slow.kill('SIGSTOP');
    try {
      const sent = await a.sendClip(HEAD, COUNT, SIZE);
      const whole = clips => clips.length === 1 && clips[0].bytes === sent.bytes && clips[0].digest === sent.digest;
      await until('the one that listens', () => b.clips().some(clip => clip.bytes >= sent.bytes));
      if (!whole(b.clips())) throw new Error(`sent ${JSON.stringify(sent)}, got ${JSON.stringify(b.clips())}`);
      slow.kill('SIGCONT');
      await until('the one that stood still', () => said.length > 1);
      const [, { clips, events }] = said;
      if (!whole(clips)) throw new Error(`sent ${JSON.stringify(sent)}, the slow one got ${JSON.stringify(clips)}`);
      if ([...events, ...a.events(), ...b.events()].some(event => event.error || event.close)) throw new Error(`events: ${JSON.stringify([events, a.events(), b.events()])}`);
      await ended;
      for (const one of [a, b]) one.leave();
      await new Promise(done => setTimeout(done, 300));
      return { sent, clips };
    } finally {
      slow.kill('SIGKILL');
    }
  });
}
