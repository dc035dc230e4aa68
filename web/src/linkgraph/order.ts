// All shown links from the weakest to the strongest, for painting the strong ones last. A counting sort: linear, and exact
// enough for what the eye sees.

const STEPS = 4096;

/** Indices of links with `shown`, ascending by |share|; at most `limit` of them, the strongest. */
export function byStrength(shown: Uint8Array, share: Float64Array, limit = Number.POSITIVE_INFINITY): Uint32Array {
  const step = (i: number) => Math.min(STEPS - 1, Math.floor(Math.sqrt(Math.abs(share[i])) * STEPS)) || 0;
  const start = new Uint32Array(STEPS + 1);
  let n = 0;
  for (let i = 0; i < shown.length; i++) {
    if (!shown[i]) continue;
    n++;
    start[step(i) + 1]++;
  }
  for (let s = 1; s <= STEPS; s++) start[s] += start[s - 1];
  const out = new Uint32Array(n);
  for (let i = 0; i < shown.length; i++) if (shown[i]) out[start[step(i)]++] = i;
  return n > limit ? out.subarray(n - limit) : out;
}
