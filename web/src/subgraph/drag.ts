// Dragging boxes and the ground beneath them. A press that moves less than a few pixels stays a click.

import { useRef } from "preact/hooks";

const THRESHOLD = 4;

export interface Dragging {
  readonly onStart?: () => void;
  /** Pixels on the screen since the press. */
  readonly onMove: (dx: number, dy: number) => void;
  readonly onEnd: (dx: number, dy: number) => void;
  /** The pointer was taken away, for instance by a gesture of the system. */
  readonly onCancel?: () => void;
}

interface Press {
  readonly id: number;
  readonly x: number;
  readonly y: number;
  moved: boolean;
}

export interface DragHandlers {
  readonly onPointerDown: (event: PointerEvent) => void;
  readonly onPointerMove: (event: PointerEvent) => void;
  readonly onPointerUp: (event: PointerEvent) => void;
  readonly onPointerCancel: (event: PointerEvent) => void;
  readonly onClickCapture: (event: MouseEvent) => void;
}

/** Handlers for an element that is dragged; the click that ends a drag is swallowed. */
export function useDrag(dragging: Dragging): DragHandlers {
  const press = useRef<Press | null>(null);
  const swallow = useRef(false);
  return {
    onPointerDown(event) {
      if (event.button !== 0 || press.current !== null) return;
      if (event.target instanceof Element && event.target.closest("input, [data-no-drag]") !== null) return;
      swallow.current = false;
      press.current = { id: event.pointerId, x: event.clientX, y: event.clientY, moved: false };
    },
    onPointerMove(event) {
      const held = press.current;
      if (held === null || held.id !== event.pointerId) return;
      const dx = event.clientX - held.x;
      const dy = event.clientY - held.y;
      if (!held.moved) {
        if (Math.hypot(dx, dy) < THRESHOLD) return;
        held.moved = true;
        (event.currentTarget as Element).setPointerCapture(event.pointerId);
        dragging.onStart?.();
      }
      dragging.onMove(dx, dy);
    },
    onPointerUp(event) {
      const held = press.current;
      if (held === null || held.id !== event.pointerId) return;
      press.current = null;
      if (!held.moved) return;
      swallow.current = true;
      // The click comes right after, or never.
      setTimeout(() => {
        swallow.current = false;
      }, 0);
      dragging.onEnd(event.clientX - held.x, event.clientY - held.y);
    },
    onPointerCancel(event) {
      const held = press.current;
      if (held === null || held.id !== event.pointerId) return;
      press.current = null;
      if (held.moved) dragging.onCancel?.();
    },
    onClickCapture(event) {
      if (!swallow.current) return;
      swallow.current = false;
      event.preventDefault();
      event.stopPropagation();
    },
  };
}
