// A set of checks of a server, one report.
import { option } from './args.mjs';
import { until } from './until.mjs';

/**
 * Runs all checks, `{ name: async () => … }`, a few at a time; a check fails by throwing. Options of the script: `--only=` and `--skip=`, regular
 * expressions for names. The last line printed is `{ ok, passed: [names], failed: [{ name, error }] }`.
 */
export async function suite(checks, { atOnce = 8 } = {}) {
  const [only, skip] = [option('only'), option('skip')];
  const waiting = Object.entries(checks).filter(([name]) => (!only || new RegExp(only).test(name)) && !(skip && new RegExp(skip).test(name)));
  if (waiting.length === 0) throw new Error('no check is left');
  const [passed, failed] = [[], []];
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [name, check] = next;
      try {
        await check();
        passed.push(name);
      } catch (error) {
        failed.push({ name, error: String(error.stack ?? error) });
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  if (failed.length > 0) process.exitCode = 1;
  const error = failed.map(({ name, error }) => `${name}: ${error}`).join('\n');
  // open sockets would keep the process
  process.stdout.write(`${JSON.stringify({ ok: failed.length === 0, ...failed.length > 0 ? { error, logs: [] } : {}, passed, failed })}\n`, () => process.exit());
}

/** A value as JSON with the members of its objects in order. */
export const canonical = value => JSON.stringify(value, (_, item) =>
  item && typeof item === 'object' && !Array.isArray(item) ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => a < b ? -1 : 1)) : item);

/** Fails unless both are the same as JSON, in whatever order members stand. */
export function same(seen, wanted, what = 'value') {
  const [left, right] = [canonical(seen), canonical(wanted)];
  if (left !== right) throw new Error(`${what}: ${left}, wanted ${right}`);
}

/** Fails unless it is so. */
export function holds(truth, what) {
  if (!truth) throw new Error(what);
}

/** Nothing of this kind comes for a while. */
export async function never(what, look, milliseconds = 1500) {
  const seen = await until(what, look, milliseconds).catch(() => undefined);
  if (seen) throw new Error(`${what}: ${JSON.stringify(seen)}`);
}

/** A text nobody else uses. */
export const unique = (prefix = 'u') => `${prefix}${Math.random().toString(36).slice(2)}`;
