// A client in a page of its own: an empty page from loopback (so camera and microphone are allowed), the published bundles, then
// the client's `start` function, which runs in the page. Its methods are called from here as if they were here.
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { option } from './args.mjs';
import { recorded } from './recorded.mjs';

let empty;

/** The address of an empty page. */
async function emptyPage() {
  empty ??= new Promise(done => {
    const server = createServer((_, response) => response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><title>client</title>'));
    server.listen(0, '127.0.0.1', () => done(`http://127.0.0.1:${server.address().port}/`));
    server.unref();
  });
  return empty;
}

/** The path of a file in node_modules. */
export const published = name => fileURLToPath(new URL(`../node_modules/${name}`, import.meta.url));

/**
 * Opens a page (`page`, or the script's `--page=URL`, or an empty one from loopback) with `bundles` (files in node_modules) and runs `start(options, window)` in it. `open` is of `withBrowser`.
 * Every method of what `start` gives is a method of the result, and returns a promise.
 */
export async function pageClient(open, { page: address, bundles = [], start, options }) {
  const page = await open(address ?? option('page') ?? await emptyPage());
  await page.evaluate(`Object.assign(window, (${recorded})(window))`);
  for (const bundle of bundles) await page.addScriptTag({ path: published(bundle) });
  await page.evaluate(`(${start})(${JSON.stringify(options)}, window).then(client => { window.client = client; })`);
  return new Proxy({ page }, {
    get(own, name) {
      if (name in own || name === 'then') return own[name];
      return (...given) => page.evaluate(([method, values]) => window.client[method](...values), [name, given]);
    },
  });
}
