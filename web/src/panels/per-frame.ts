// Input that comes faster than the page is painted: what is overtaken before the next frame is dropped. Knows nothing of what the
// values mean.

import { useEffect, useRef } from "preact/hooks";

export interface PerFrame<T> {
  /** Acts on the first value of a frame at once, and on the last of those that follow when the frame has come. */
  readonly next: (value: T) => void;
  /** Acts on the value that waits, if any, without waiting for the frame. */
  readonly now: () => void;
}

/** Calls `act` at once, then at most once for each frame, with the last value that came. */
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
  const next = (value: T) => {
    if (frame !== 0) {
      waiting = { value };
      return;
    }
    // At once and not in the frame: what is painted in answer must still be asked for before that frame.
    act(value);
    frame = requestAnimationFrame(() => {
      frame = 0;
      take();
    });
  };
  const take = () => {
    const last = waiting;
    waiting = null;
    if (last !== null) next(last.value);
  };
  const now = () => {
    const last = waiting;
    drop();
    if (last !== null) act(last.value);
  };
  return { next, now, drop };
}
