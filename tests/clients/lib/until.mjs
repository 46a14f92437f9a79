// Waiting for what takes time.

/** Looks until `look()` gives something true; says `what` is missing after the limit. */
export async function until(what, look, limit = 120000) {
  for (const end = Date.now() + limit; Date.now() < end; await new Promise(done => setTimeout(done, 50))) {
    const found = await look();
    if (found) return found;
  }
  throw new Error(`not within ${limit} ms: ${what}`);
}
