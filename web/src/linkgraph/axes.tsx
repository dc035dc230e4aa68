// The texts around the plot: row names, tokens below and outputs above, as real text that can be read aloud, zoomed and found.
//
// Long prompts have thousands of tokens, so only those near the window are in the document.

import type { ReadonlySignal } from "@preact/signals";
import { useComputed } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { displayToken, logitText } from "../core/tokens";
import type { Graph, NodeIx } from "../core/types";
import type { Store } from "../store/store";
import { type Geometry, labelledRows, rowName, rowY, spacedOut } from "./geometry";
import type { Frame, PlotState } from "./plot";

/** Least distance of slanted texts and of row names. */
const TEXT_GAP = 17;
const ROW_GAP = 13;
/** Texts this far outside the window are kept, so that slow scrolling draws nothing new. */
const MARGIN = 400;

export interface AxisLabel {
  readonly ix: NodeIx;
  readonly pos: number;
  readonly text: string;
  readonly x: number;
}

/** Tokens whose embedding is shown. */
export function tokenLabels(graph: Graph, geometry: Geometry): AxisLabel[] {
  const out: AxisLabel[] = [];
  for (const { ix, kind, pos, clerp } of graph.nodes) {
    if (kind !== "token" || Number.isNaN(geometry.x[ix])) continue;
    out.push({ ix, pos, text: displayToken(graph.tokens[pos] ?? clerp), x: geometry.x[ix] });
  }
  return out.sort((a, b) => a.x - b.x);
}

/** Outputs, likely ones first where they would overlap. */
export function logitLabels(graph: Graph, geometry: Geometry, labels: readonly string[]): AxisLabel[] {
  const logits = graph.nodes.filter(({ ix, kind }) => kind === "logit" && !Number.isNaN(geometry.x[ix]));
  const order = logits.toSorted((a, b) => b.tokenProb - a.tokenProb).map(({ ix }) => ix);
  return spacedOut(geometry.x, order, TEXT_GAP).map((ix) => {
    const { pos, clerp, tokenProb } = graph.nodes[ix];
    // A label given by the user replaces the token.
    const own = labels[ix] !== undefined && labels[ix] !== clerp ? labels[ix] : null;
    const text = own ?? logitText(clerp);
    const share = tokenProb > 0 ? ` ${(tokenProb * 100).toFixed(tokenProb < 0.1 ? 1 : 0)} %` : "";
    return { ix, pos, text: (text.trim() === "" ? `“${text}”` : text) + share, x: geometry.x[ix] };
  });
}

export function Axes({ store, state }: { store: Store; state: PlotState }) {
  const view = useComputed(() => {
    // In steps, so that scrolling rarely renders.
    const { left, top } = state.scroll.value;
    const { width, height } = state.size.value;
    const step = MARGIN / 2;
    return {
      left: Math.floor(left / step) * step - MARGIN,
      right: Math.ceil((left + width) / step) * step + MARGIN,
      top: Math.floor(top / step) * step - MARGIN,
      bottom: Math.ceil((top + height) / step) * step + MARGIN,
    };
  });
  const graph = state.graph.value;
  const geometry = state.geometry.value;
  if (graph === null || geometry === null || geometry.x.length !== graph.nodes.length) return null;
  return (
    <>
      <Rows geometry={geometry} frame={state.frame.value} state={state} view={view} />
      <Slanted kind="tokens" labels={tokenLabels(graph, geometry)} store={store} state={state} view={view} />
      <Slanted
        kind="logits"
        labels={logitLabels(graph, geometry, store.labels.value)}
        store={store}
        state={state}
        view={view}
      />
    </>
  );
}

interface Window {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

interface RowsProps {
  readonly geometry: Geometry;
  readonly frame: Frame;
  readonly state: PlotState;
  readonly view: ReadonlySignal<Window>;
}

function Rows({ geometry, frame, state, view }: RowsProps) {
  const { top, bottom } = view.value;
  const rows = labelledRows(geometry.logitRow, geometry.rowHeight, ROW_GAP).filter((row) => {
    const y = rowY(geometry, row);
    return y >= top && y <= bottom;
  });
  return (
    <div class="lg-rows" style={{ top: `${frame.top}px`, bottom: `${frame.bottom}px`, width: `${frame.left}px` }}>
      <Moved state={state} axis="y">
        {rows.map((row) => (
          <span key={row} class="lg-row" style={{ top: `${rowY(geometry, row)}px` }}>
            {rowName(row, geometry.logitRow)}
          </span>
        ))}
      </Moved>
    </div>
  );
}

/** Children that move with the plot along one axis. */
function Moved({ state, axis, children }: { state: PlotState; axis: "x" | "y"; children: ComponentChildren }) {
  const transform = useComputed(() =>
    axis === "x" ? `translateX(${-state.scroll.value.left}px)` : `translateY(${-state.scroll.value.top}px)`,
  );
  return (
    <div class="lg-moved" style={{ transform: transform.value }}>
      {children}
    </div>
  );
}

interface SlantedProps {
  readonly kind: "tokens" | "logits";
  readonly labels: readonly AxisLabel[];
  readonly store: Store;
  readonly state: PlotState;
  readonly view: ReadonlySignal<Window>;
}

function Slanted({ kind, labels, store, state, view }: SlantedProps) {
  const { left, right } = view.value;
  const frame = state.frame.value;
  // Texts lean, so the region they are clipped to leans too.
  const box =
    kind === "tokens"
      ? { left: 0, right: 0, bottom: 0, height: `${frame.bottom}px` }
      : { left: 0, right: 0, top: 0, height: `${frame.top}px` };
  const depth = kind === "tokens" ? frame.bottom : frame.top;
  const clip =
    kind === "tokens"
      ? `polygon(${frame.left}px 0, 200% 0, 200% 100%, ${frame.left - depth - 8}px 100%)`
      : `polygon(${frame.left + depth}px 0, 200% 0, 200% 100%, ${frame.left}px 100%)`;
  return (
    <div class={`lg-${kind}`} style={{ ...box, clipPath: clip }}>
      <Moved state={state} axis="x">
        {labels
          .filter(({ x }) => x >= left && x <= right)
          .map(({ ix, pos, text, x }) => (
            <SlantedText key={ix} kind={kind} ix={ix} pos={pos} text={text} x={x + frame.left} store={store} state={state} />
          ))}
      </Moved>
    </div>
  );
}

interface TextProps {
  readonly kind: "tokens" | "logits";
  readonly ix: NodeIx;
  readonly pos: number;
  readonly text: string;
  readonly x: number;
  readonly store: Store;
  readonly state: PlotState;
}

function SlantedText({ kind, ix, pos, text, x, store, state }: TextProps) {
  const lit = useComputed(() => {
    const graph = state.graph.value;
    const { hover, selectedNode } = store;
    for (const other of [hover.value, selectedNode.value]) {
      if (other === null || graph === null) continue;
      if (other === ix || (kind === "tokens" && graph.nodes[other]?.pos === pos)) return true;
    }
    return false;
  });
  return (
    <span class={lit.value ? "lg-text lg-lit" : "lg-text"} style={{ left: `${x}px` }} title={text}>
      <bdi dir="auto">{text}</bdi>
    </span>
  );
}

/** How far slanted texts of these widths reach: the space above, below or beside the plot. */
export function reach(widths: Iterable<number>, most: number): number {
  let widest = 0;
  for (const width of widths) widest = Math.max(widest, width);
  return Math.min(most, Math.ceil(widest * Math.SQRT1_2) + 14);
}
