// The keyboard in the link graph: arrows move a focus from node to node, which is also hovered so that every panel follows.

import { batch, useSignalEffect } from "@preact/signals";
import type { NodeIx } from "../core/types";
import { activate } from "../panels/pointing";
import type { Store } from "../store/store";
import { rowY } from "./geometry";
import type { Model } from "./model";
import { ARROWS, neighbour } from "./navigate";
import type { Scroller, ZoomBy } from "./window";

export interface Keys {
  readonly onKeyDown: (event: KeyboardEvent) => void;
  readonly onFocus: () => void;
  readonly onBlur: () => void;
}

/** Room between a node that is brought into sight and the edge of the window. */
const PAD = 24;

/**
 * Where to scroll to, on one axis, so that the place `at` is in sight: as little as possible from `from`. The window shows `span` of
 * the plot's `length`.
 */
export function nearest(at: number, from: number, span: number, length: number): number {
  const wanted = at < from + PAD ? at - PAD : at > from + span - PAD ? at - span + PAD : from;
  return Math.max(0, Math.min(wanted, Math.floor(length) - span));
}

export function useKeys(store: Store, model: Model, scroller: Scroller, zoomBy: ZoomBy): Keys {
  const { state, focused, current } = model;

  const shown = (ix: NodeIx | null): ix is NodeIx => ix !== null && !Number.isNaN(state.geometry.peek()?.x[ix] ?? Number.NaN);

  /** Where the keyboard starts: where it was, the selected node, or the likeliest output. */
  const start = (): NodeIx | null => {
    for (const ix of [current.peek(), store.selectedNode.peek()]) if (shown(ix)) return ix;
    const nodes = state.graph.peek()?.nodes ?? [];
    let best: NodeIx | null = null;
    for (const { ix, row, tokenProb } of nodes) {
      if (!shown(ix)) continue;
      if (best === null || row > nodes[best].row || (row === nodes[best].row && tokenProb > nodes[best].tokenProb)) best = ix;
    }
    return best;
  };

  const reveal = (ix: NodeIx) => {
    const element = scroller.current;
    const geometry = state.geometry.peek();
    if (element === null || geometry === null || Number.isNaN(geometry.x[ix])) return;
    const { width, height } = state.size.peek();
    const frame = state.frame.peek();
    // By what is known of the window: asking the element would lay the whole page out for every selection.
    const now = model.scroll.peek();
    const left = nearest(geometry.x[ix], now.left, width - frame.left - frame.right, geometry.width);
    const top = nearest(geometry.y[ix], now.top, height - frame.top - frame.bottom, geometry.height);
    if (left === now.left && top === now.top) return;
    element.scrollTo(left, top);
    model.scroll.value = { left: element.scrollLeft, top: element.scrollTop };
  };

  const go = (ix: NodeIx | null) => {
    if (ix === null) return;
    batch(() => {
      current.value = ix;
      focused.value = ix;
      store.setHover(ix);
    });
    reveal(ix);
  };

  // What is selected elsewhere comes into view here.
  useSignalEffect(() => {
    const ix = store.selectedNode.value;
    if (ix !== null) {
      current.value = ix;
      reveal(ix);
    }
  });

  /** First or last node of a row, or of the next row that has nodes. */
  const along = (from: NodeIx, key: string): NodeIx | null => {
    const geometry = state.geometry.peek();
    if (geometry === null) return null;
    const { x, y } = geometry;
    let best: NodeIx | null = null;
    for (let ix = 0; ix < x.length; ix++) {
      if (Number.isNaN(x[ix]) || y[ix] !== y[from]) continue;
      if (best === null || (key === "Home" ? x[ix] < x[best] : x[ix] > x[best])) best = ix;
    }
    return best;
  };

  const far = (from: NodeIx, key: string): NodeIx | null => {
    const geometry = state.geometry.peek();
    const graph = state.graph.peek();
    if (geometry === null || graph === null) return null;
    // Five rows on, or as far as there are nodes.
    const target = rowY(geometry, graph.nodes[from].row + (key === "PageUp" ? 5 : -5));
    let best: NodeIx | null = null;
    let bestScore = Number.POSITIVE_INFINITY;
    for (const { ix } of graph.nodes) {
      const ahead = key === "PageUp" ? geometry.y[ix] < geometry.y[from] : geometry.y[ix] > geometry.y[from];
      if (!ahead) continue;
      const score = Math.abs(geometry.y[ix] - target) * 2 + Math.abs(geometry.x[ix] - geometry.x[from]);
      if (score < bestScore) {
        best = ix;
        bestScore = score;
      }
    }
    return best;
  };

  const act = (event: KeyboardEvent): boolean => {
    const geometry = state.geometry.peek();
    const graph = state.graph.peek();
    const ix = focused.peek() ?? start();
    if (geometry === null || graph === null || ix === null) return false;
    const direction = ARROWS[event.key];
    if (direction !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) {
      go(neighbour(geometry.x, geometry.y, ix, direction) ?? ix);
      return true;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) {
      if (event.key === "Enter" && !event.altKey) store.togglePin(graph.nodes[ix].id);
      else return false;
      return true;
    }
    switch (event.key) {
      case "Home":
      case "End":
        go(along(ix, event.key));
        return true;
      case "PageUp":
      case "PageDown":
        go(far(ix, event.key));
        return true;
      case "Enter":
      case " ":
        activate(store, ix, event);
        return true;
      case "p":
      case "P":
        if (!event.repeat) store.togglePin(graph.nodes[ix].id);
        return true;
      case "h":
      case "H":
        if (!event.repeat) store.toggleHidden(graph.nodes[ix].id);
        return true;
      case "+":
      case "=":
        zoomBy(1.4);
        return true;
      case "-":
      case "−":
        zoomBy(1 / 1.4);
        return true;
      case "0":
        zoomBy("reset");
        return true;
      default:
        return false;
    }
  };

  return {
    onKeyDown: (event) => {
      if (act(event)) event.preventDefault();
    },
    onFocus: () => {
      // A click also gives focus, but shows no ring until a key is pressed.
      if (document.activeElement?.matches(":focus-visible")) go(start());
    },
    onBlur: () => {
      if (focused.peek() === null) return;
      batch(() => {
        focused.value = null;
        if (!store.hold.value) store.setHover(null);
      });
    },
  };
}
