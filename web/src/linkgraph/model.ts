// The state of the link graph's panel that is nobody else's: window, zoom, keyboard focus, and the geometry that follows.

import { type Signal, useComputed, useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { timed } from "../core/timings";
import type { Graph, NodeIx } from "../core/types";
import type { Store } from "../store/store";
import { logitLabels, reach, tokenLabels } from "./axes";
import { type Geometry, layOut } from "./geometry";
import type { Frame, PlotState } from "./plot";

const ROW_NAMES = 46;
const MAX_REACH = 104;
/** Width of a column at least, see geometry.ts. */
const COLUMN = 18;
/** As in link-graph.css. */
const MAX_TEXT = 124;

function textMeasure(): (text: string) => number {
  const context = document.createElement("canvas").getContext("2d");
  if (context === null) return (text) => text.length * 6;
  context.font = `12px ${getComputedStyle(document.documentElement).getPropertyValue("--font") || "sans-serif"}`;
  return (text) => context.measureText(text).width;
}

export interface Model {
  readonly state: PlotState;
  readonly size: Signal<{ width: number; height: number }>;
  readonly scroll: Signal<{ left: number; top: number }>;
  readonly zoom: Signal<number>;
  readonly showAll: Signal<boolean>;
  readonly focused: Signal<NodeIx | null>;
  /** The node that the keyboard would move from, kept while the focus is elsewhere. */
  readonly current: Signal<NodeIx | null>;
}

export function useModel(store: Store): Model {
  const size = useSignal({ width: 0, height: 0 });
  const scroll = useSignal({ left: 0, top: 0 });
  const zoom = useSignal(1);
  const showAll = useSignal(false);
  const focused = useSignal<NodeIx | null>(null);
  const current = useSignal<NodeIx | null>(null);
  const measure = useMemo(textMeasure, []);

  const graph = useComputed<Graph | null>(() => (store.graph.value.state === "ready" ? store.graph.value.value : null));
  // Which nodes are shown, and nothing else of `visible`: links come and go without moving nodes.
  const shown = useComputed(() => {
    const visible = store.visible.value;
    return visible !== null && visible.node.length === graph.value?.nodes.length ? visible.node : null;
  });
  // The frame depends on texts, not on where they are.
  const frame = useComputed<Frame>(() => {
    const g = graph.value;
    const node = shown.value;
    if (g === null || node === null) return { left: ROW_NAMES, right: 20, top: 20, bottom: 20 };
    const x = Float32Array.from(g.nodes, ({ ix }) => (node[ix] ? ix * 100 : Number.NaN));
    const anywhere = { x } as Geometry;
    const widths = (labels: readonly { text: string }[]) => labels.map(({ text }) => Math.min(MAX_TEXT, measure(text)));
    const top = reach(widths(logitLabels(g, anywhere, store.labels.value)), MAX_REACH);
    const tokens = widths(tokenLabels(g, anywhere));
    // The texts of the first tokens lean out to the left.
    const left = tokens.reduce((most, width, i) => Math.max(most, width * Math.SQRT1_2 - (i + 0.5) * COLUMN + 8), ROW_NAMES);
    return { left: Math.ceil(left), right: Math.max(16, top - 6), top, bottom: reach(tokens, MAX_REACH) };
  });
  const geometry = useComputed<Geometry | null>(() => {
    const { width, height } = size.value;
    const g = graph.value;
    if (g === null || shown.value === null || width === 0 || height === 0) return null;
    const { left, right, top, bottom } = frame.value;
    const input = {
      nodes: g.nodes,
      shown: shown.value,
      nPositions: g.tokens.length,
      logitRow: g.logitRow,
      width: Math.max(60, width - left - right),
      height: Math.max(40, height - top - bottom),
      zoom: zoom.value,
    };
    return timed("geometry", () => layOut(input));
  });
  const state = useMemo(() => ({ graph, geometry, frame, size, scroll, showAll, focused }), []);
  return { state, size, scroll, zoom, showAll, focused, current };
}
