// How often the page does something and how long it takes. Tests of the page compare the counts, since no machine changes them;
// `cargo xtask bench --page` prints the durations. Nothing on the page depends on either.

const KEPT = 512;
const kept = new Map<string, number[]>();
const counted = new Map<string, number>();

/** Counts that something happened, or that it happened `by` times. */
export function count(name: string, by = 1): void {
  counted.set(name, (counted.get(name) ?? 0) + by);
}

/** Counts one occurrence and keeps its duration in milliseconds. */
export function record(name: string, ms: number): void {
  count(name);
  let list = kept.get(name);
  if (list === undefined) {
    list = [];
    kept.set(name, list);
  }
  list.push(ms);
  if (list.length > KEPT) list.splice(0, list.length - KEPT);
}

/** Runs `work`, counts it and keeps its duration. */
export function timed<T>(name: string, work: () => T): T {
  const start = performance.now();
  const result = work();
  record(name, performance.now() - start);
  return result;
}

/** A copy of the last durations of every name, oldest first. */
export function timings(): Record<string, number[]> {
  return Object.fromEntries([...kept].map(([name, list]) => [name, [...list]]));
}

/** A copy of all counts since the page was opened. */
export function counts(): Record<string, number> {
  return Object.fromEntries(counted);
}
