// Input that comes faster than the page is painted: only the last value of a frame counts. Knows nothing of what the value means.

import { useEffect, useRef } from "preact/hooks";

export interface PerFrame<T> {
  /** Takes a value, which replaces one that waits. */
  readonly next: (value: T) => void;
  /** Acts on the value that waits, if any, without waiting for the frame. */
  readonly now: () => void;
}

/** Calls `act` at most once for each frame, with the last value that came. */
export function usePerFrame<T>(act: (value: T) => void): PerFrame<T> {
  const latest = useRef(act);
  latest.current = act;
  const made = useRef<(PerFrame<T> & { readonly drop: () => void }) | null>(null);
  made.current ??= perFrame((value) => latest.current(value));
  useEffect(() => () => made.current?.drop(), []);
  return made.current;
}

function perFrame<T>(act: (value: T) => void): PerFrame<T> & { readonly drop: () => void } {
  let waiting: { readonly value: T } | null = null;
  let frame = 0;
  const drop = () => {
    cancelAnimationFrame(frame);
    frame = 0;
    waiting = null;
  };
  const now = () => {
    const last = waiting;
    drop();
    if (last !== null) act(last.value);
  };
  return {
    next: (value) => {
      waiting = { value };
      if (frame === 0) frame = requestAnimationFrame(now);
    },
    now,
    drop,
  };
}
