// The read-only object `window.__circuit`: what the page shows and how often it did what, so that tests need not look at pixels.
// Nothing on the page reads it.

import { counts, timings } from "../core/timings";
import type { Store } from "./store";

export interface Debug {
  readonly slug: string | null;
  /** Ids of the nodes that are shown. */
  readonly visibleNodes: readonly string[];
  /** Links that the link graph draws, strongest last. */
  readonly drawnLinks: readonly { readonly source: string; readonly target: string; readonly weight: number }[];
  readonly hover: string | null;
  /** How often each computation ran and each layer of the link graph was painted since the page was opened. */
  readonly counts: Readonly<Record<string, number>>;
  /** Milliseconds by name, the newest last: `read`, `visible`, `drawnLinks`, `connections`, `edges`, and what panels add. */
  readonly timings: Readonly<Record<string, readonly number[]>>;
}

export function debugOf(store: Store): Debug {
  const graph = () => (store.graph.peek().state === "ready" ? (store.graph.peek() as { value: GraphOf }).value : null);
  return Object.freeze({
    get slug() {
      return graph()?.slug ?? null;
    },
    get visibleNodes() {
      const shown = store.visible.peek();
      return (graph()?.nodes ?? []).filter(({ ix }) => shown?.node[ix] === 1).map(({ id }) => id);
    },
    get drawnLinks() {
      const g = graph();
      if (g === null) return [];
      const { source, target, weight } = g.links;
      return [...store.drawnLinks.peek()].map((l) => ({
        source: g.nodes[source[l]].id,
        target: g.nodes[target[l]].id,
        weight: weight[l],
      }));
    },
    get hover() {
      const ix = store.hover.peek();
      return ix === null ? null : (graph()?.nodes[ix]?.id ?? null);
    },
    get counts() {
      return counts();
    },
    get timings() {
      return timings();
    },
  });
}

type GraphOf = Extract<ReturnType<Store["graph"]["peek"]>, { state: "ready" }>["value"];

declare global {
  interface Window {
    readonly __circuit?: Debug;
  }
}

export function installDebug(store: Store): void {
  Object.defineProperty(window, "__circuit", { value: debugOf(store), configurable: true });
}
