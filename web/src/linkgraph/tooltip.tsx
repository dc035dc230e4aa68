// What the hovered node is, next to it; with the Meta key everything the file says of it.

import type { ReadonlySignal } from "@preact/signals";
import { displayToken } from "../core/tokens";
import type { Graph, NodeIx } from "../core/types";
import { fullLabel, kindName, nodeName, percent, rowName, signed } from "../panels/text";
import type { Store } from "../store/store";
import type { PlotState } from "./plot";

/** Simple properties of a node as the file has them, long ones cut. */
export function properties(graph: Graph, ix: NodeIx): [string, string][] {
  return Object.entries(graph.raw.nodes[ix] ?? {})
    .filter(([, value]) => value === null || typeof value !== "object")
    .map(([key, value]) => [key, typeof value === "string" ? displayToken(value).slice(0, 200) : String(value)]);
}

interface Props {
  readonly store: Store;
  readonly state: PlotState;
  /** Whether the pointer or the keyboard's focus is in the graph; hovering elsewhere needs no tooltip here. */
  readonly active: ReadonlySignal<boolean>;
  readonly everything: ReadonlySignal<boolean>;
}

export function Tooltip({ store, state, active, everything }: Props) {
  const ix = store.hover.value;
  const graph = state.graph.value;
  const geometry = state.geometry.value;
  if (!active.value || ix === null || graph === null || geometry === null || Number.isNaN(geometry.x[ix] ?? Number.NaN))
    return null;

  const { width, height } = state.size.value;
  const { left, top } = state.scroll.value;
  const frame = state.frame.value;
  const x = geometry.x[ix] - left + frame.left;
  const y = geometry.y[ix] - top + frame.top;
  if (x < 0 || x > width || y < 0 || y > height) return null;
  const toLeft = x > width / 2;
  const above = y > height / 2;
  const place = {
    ...(toLeft ? { right: `${width - x + 14}px` } : { left: `${x + 14}px` }),
    // All properties may need the whole height.
    ...(everything.value ? { top: "6px" } : above ? { bottom: `${height - y + 10}px` } : { top: `${y + 10}px` }),
    maxWidth: `${Math.max(140, Math.min(380, (toLeft ? x : width - x) - 24))}px`,
  };

  const node = graph.nodes[ix];
  const label = fullLabel(ix, store.labels.value, store.supernodeOf.value, store.view.value.supernodes);
  const token = graph.tokens[node.pos];
  const { pctInput: into, weight } = toSelection(store, ix);
  return (
    <div class="lg-tooltip" role="tooltip" data-testid="tooltip" style={place}>
      <bdi class="lg-tooltip-label" dir="auto">
        {displayToken(nodeName(graph, ix, label))}
      </bdi>
      <div class="lg-tooltip-place">
        {kindName(node.kind)} · {rowName(graph, node.row)}
        {node.kind === "feature" && node.index !== null && `/${node.index}`} ·{" "}
        <bdi dir="auto">“{displayToken(token ?? "")}”</bdi> {node.pos}
      </div>
      <dl class="lg-tooltip-facts">
        {node.kind === "logit" && <Fact name="probability" value={percent(node.tokenProb)} />}
        {node.activation !== null && <Fact name="activation" value={node.activation.toPrecision(3)} />}
        {node.influence !== null && <Fact name="influence within" value={percent(node.influence)} />}
        {weight !== null && <Fact name="link with selection" value={`${signed(weight)} (${percent(into)} of input)`} />}
        {everything.value && properties(graph, ix).map(([name, value]) => <Fact key={name} name={name} value={value} />)}
      </dl>
    </div>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <>
      <dt>{name}</dt>
      <dd dir="auto">{value}</dd>
    </>
  );
}

function toSelection(store: Store, ix: NodeIx): { pctInput: number; weight: number | null } {
  const connections = store.connections.value;
  if (connections !== null && store.view.value.selection !== null) {
    for (const list of [connections.outputs, connections.inputs]) {
      for (const connection of list) if (connection.node === ix) return connection;
    }
  }
  return { pctInput: 0, weight: null };
}
