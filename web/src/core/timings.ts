// How long things took, for the debug object and the tests that hold the page to its time budget. It measures, never acts.

const KEPT = 512;
const kept = new Map<string, number[]>();

/** Keeps one duration in milliseconds under a name such as `hover`, `select` or `frame`. */
export function record(name: string, ms: number): void {
  let list = kept.get(name);
  if (list === undefined) {
    list = [];
    kept.set(name, list);
  }
  list.push(ms);
  if (list.length > KEPT) list.splice(0, list.length - KEPT);
}

/** Runs `work` and keeps how long it took. */
export function timed<T>(name: string, work: () => T): T {
  const start = performance.now();
  const result = work();
  record(name, performance.now() - start);
  return result;
}

/** A copy of what was kept, oldest first. */
export function timings(): Record<string, number[]> {
  return Object.fromEntries([...kept].map(([name, list]) => [name, [...list]]));
}

export function clearTimings(): void {
  kept.clear();
}
