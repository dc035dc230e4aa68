// Pointing at the link graph: hover, click, panning by dragging, tap and long press.

import { batch, type Signal } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { timed } from "../core/timings";
import type { NodeIx } from "../core/types";
import { activate, hover } from "../panels/pointing";
import type { Store } from "../store/store";
import type { Model } from "./model";
import type { Plot } from "./plot";
import type { Scroller } from "./window";

/** The pointer moved this far is a drag, not a click. */
const DRAG = 5;
const LONG_PRESS = 500;

export interface Pointing {
  readonly onPointerMove: (event: PointerEvent) => void;
  readonly onPointerLeave: (event: PointerEvent) => void;
  readonly onPointerDown: (event: PointerEvent) => void;
  readonly onPointerUp: (event: PointerEvent) => void;
  readonly onPointerCancel: (event: PointerEvent) => void;
  readonly onContextMenu: (event: MouseEvent) => void;
}

interface Press {
  readonly id: number;
  readonly x: number;
  readonly y: number;
  readonly touch: boolean;
  readonly left: number;
  readonly top: number;
  moved: boolean;
  done: boolean;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** Hover, click, pan by dragging, tap and long press. */
export function usePointing(
  store: Store,
  model: Model,
  scroller: Scroller,
  plot: RefObject<Plot | null>,
  inside: Signal<boolean>,
  everything: Signal<boolean>,
): Pointing {
  const press = useRef<Press | null>(null);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => (everything.value = event.metaKey && event.type === "keydown");
    window.addEventListener("keydown", onKey);
    window.addEventListener("keyup", onKey);
    return () => {
      window.removeEventListener("keydown", onKey);
      window.removeEventListener("keyup", onKey);
    };
  }, []);

  const hit = (event: PointerEvent): NodeIx | null => {
    const element = scroller.current;
    if (element === null) return null;
    const box = element.getBoundingClientRect();
    const frame = model.state.frame.peek();
    const x = event.clientX - box.left - frame.left + element.scrollLeft;
    const y = event.clientY - box.top - frame.top + element.scrollTop;
    return plot.current?.nodeAt(x, y) ?? null;
  };

  const end = () => {
    clearTimeout(press.current?.timer);
    scroller.current?.classList.remove("lg-panning");
    press.current = null;
  };

  return {
    onPointerMove(event) {
      const held = press.current;
      if (held !== null && held.id === event.pointerId) {
        const dx = event.clientX - held.x;
        const dy = event.clientY - held.y;
        if (!held.moved && Math.hypot(dx, dy) > DRAG) {
          held.moved = true;
          clearTimeout(held.timer);
          if (!held.touch) {
            (event.currentTarget as Element).setPointerCapture(event.pointerId);
            scroller.current?.classList.add("lg-panning");
          }
        }
        // Fingers scroll by themselves.
        if (held.moved && !held.touch) scroller.current?.scrollTo(held.left - dx, held.top - dy);
        if (held.moved) return;
      }
      batch(() => {
        inside.value = true;
        everything.value = event.metaKey;
        // The key may have gone down while another window had the keyboard.
        store.hold.value = event.shiftKey;
        if (event.pointerType !== "touch") timed("hover", () => hover(store, hit(event)));
      });
    },
    onPointerLeave() {
      batch(() => {
        inside.value = false;
        hover(store, null);
      });
    },
    onPointerDown(event) {
      if (event.button !== 0 || press.current !== null) return;
      const touch = event.pointerType === "touch";
      const element = scroller.current;
      const made: Press = {
        id: event.pointerId,
        x: event.clientX,
        y: event.clientY,
        touch,
        left: element?.scrollLeft ?? 0,
        top: element?.scrollTop ?? 0,
        moved: false,
        done: false,
        timer: undefined,
      };
      press.current = made;
      if (touch) {
        const ix = hit(event);
        made.timer = setTimeout(() => {
          const graph = model.state.graph.peek();
          made.done = true;
          if (ix !== null && graph !== null) store.togglePin(graph.nodes[ix].id);
        }, LONG_PRESS);
      }
    },
    onPointerUp(event) {
      const held = press.current;
      if (held === null || held.id !== event.pointerId) return;
      end();
      if (held.moved || held.done) return;
      const ix = hit(event);
      if (held.touch) hover(store, ix);
      if (ix !== null) {
        model.current.value = ix;
        timed("select", () => activate(store, ix, event));
      } else if (!store.grouping.value.on && !event.ctrlKey && !event.metaKey) store.select(null);
    },
    onPointerCancel: end,
    onContextMenu(event) {
      // Ctrl + click on a Mac, and a long press, mean something else here.
      if (event.ctrlKey || press.current !== null) event.preventDefault();
    },
  };
}
