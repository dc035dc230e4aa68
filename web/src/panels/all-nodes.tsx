// Every node as a line of a table: the full alternative to the canvas of the link graph, and the place for finding nodes. Search
// itself is the store's; the kinds listed, hidden ones and the order are decided here.

// biome-ignore-all lint/a11y/useSemanticElements: a grid of which only the lines in sight exist cannot be a table element
// biome-ignore-all lint/a11y/useFocusableInteractive: the grid has the focus and names its active line
// biome-ignore-all lint/a11y/useKeyWithClickEvents: the grid has the keys

import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { displayToken } from "../core/tokens";
import type { Graph, GraphNode, NodeIx, NodeKind } from "../core/types";
import { nodesCsv, saveText } from "../export/csv";
import type { Store } from "../store/store";
import { NodeGlyph } from "./icons";
import { useLineClass } from "./node-connections";
import { activate, currentGraph, hover } from "./pointing";
import { count, fullLabel, kindName, nodeName, percent, rowName } from "./text";
import type { LineState } from "./virtual-list";
import { VirtualList } from "./virtual-list";

type Column = "label" | "pos" | "row" | "activation" | "influence" | "degree";
type KindFilter = "all" | NodeKind;

const COLUMNS: readonly { key: Column; title: string; help: string }[] = [
  { key: "label", title: "Node", help: "Label, or type and place" },
  { key: "pos", title: "Token", help: "Position and text of the token" },
  { key: "row", title: "Layer", help: "Row of the link graph" },
  { key: "activation", title: "Act.", help: "Activation at this position; probability of an output" },
  { key: "influence", title: "Infl.", help: "The node is among those that make up this share of all influence" },
  { key: "degree", title: "In / out", help: "Links into the node and out of it, all of the file" },
];

const KINDS: readonly NodeKind[] = ["feature", "error", "token", "logit", "attention", "bias", "unknown"];

function degree(graph: Graph, ix: NodeIx): [number, number] {
  const of = ({ start }: { start: Uint32Array }) => start[ix + 1]! - start[ix]!;
  return [of(graph.inputs), of(graph.outputs)];
}

/** What a column is ordered by; null goes last. */
function sortValue(graph: Graph, node: GraphNode, labels: readonly string[], column: Column): number | string | null {
  switch (column) {
    case "label":
      return nodeName(graph, node.ix, labels[node.ix] ?? "").toLocaleLowerCase();
    case "pos":
      return node.pos;
    case "row":
      return node.row;
    case "activation":
      return node.kind === "logit" ? node.tokenProb : node.activation;
    case "influence":
      return node.influence;
    case "degree": {
      const [into, out] = degree(graph, node.ix);
      return into + out;
    }
  }
}

export function AllNodes({ store }: { store: Store }) {
  const kind = useSignal<KindFilter>("all");
  const pruned = useSignal(false);
  const sort = useSignal<{ column: Column; descending: boolean }>({ column: "influence", descending: false });
  const graph = currentGraph(store);
  const visible = store.visible.value;
  const hits = store.hits.value;
  const labels = store.labels.value;

  const nodes = useMemo(() => {
    if (graph === null || visible === null) return [];
    const list = graph.nodes.filter(
      (node) =>
        (pruned.value || visible.node[node.ix] === 1) &&
        (hits === null || hits[node.ix] === 1) &&
        (kind.value === "all" || node.kind === kind.value),
    );
    const { column, descending } = sort.value;
    const sign = descending ? -1 : 1;
    const keyed = list.map((node) => ({ node, value: sortValue(graph, node, labels, column) }));
    keyed.sort((a, b) => {
      if (a.value === null || b.value === null) return (a.value === null ? 1 : 0) - (b.value === null ? 1 : 0);
      if (a.value === b.value) return a.node.ix - b.node.ix;
      return sign * (a.value < b.value ? -1 : 1);
    });
    return keyed.map(({ node }) => node);
  }, [graph, visible, hits, labels, kind.value, pruned.value, sort.value]);

  if (graph === null || visible === null) return null;
  const kinds = KINDS.filter((name) => graph.nodes.some((node) => node.kind === name));

  return (
    <div class="all-nodes" data-testid="all-nodes">
      <div class="all-nodes-bar">
        <label class="field-small">
          <span class="unseen">Filter by text</span>
          <input
            type="search"
            placeholder="Filter nodes"
            value={store.query.value}
            onInput={(event) => (store.query.value = event.currentTarget.value)}
          />
        </label>
        <label class="field-small">
          <span class="unseen">Type</span>
          <select value={kind.value} onChange={(event) => (kind.value = event.currentTarget.value as KindFilter)}>
            <option value="all">all types</option>
            {kinds.map((name) => (
              <option key={name} value={name}>
                {kindName(name)}
              </option>
            ))}
          </select>
        </label>
        <label class="check">
          <input type="checkbox" checked={pruned.value} onChange={(event) => (pruned.value = event.currentTarget.checked)} />
          pruned too
        </label>
        <span class="muted nowrap push" data-testid="all-nodes-count">
          {count(nodes.length)} of {count(graph.nodes.length)}
        </span>
        <button
          type="button"
          class="button quiet"
          title="This table as a CSV file"
          onClick={() => saveText(`${graph.slug}-nodes.csv`, "text/csv", nodesCsv(store))}
        >
          CSV
        </button>
      </div>
      <VirtualList
        label="All nodes"
        role="grid"
        columns={COLUMNS.length}
        length={nodes.length}
        lineHeight={1.625}
        content={nodes}
        onMove={(at) => hover(store, at === null ? null : nodes[at]!.ix)}
        onEnter={(at, event) => activate(store, nodes[at]!.ix, event)}
        empty={<p class="empty-line muted">No node matches.</p>}
        head={
          <div class="grid-line grid-head" role="row" aria-rowindex={1}>
            {COLUMNS.map(({ key, title, help }) => {
              const on = sort.value.column === key;
              const order = sort.value.descending ? "descending" : "ascending";
              return (
                <div key={key} class={`cell cell-${key}`} role="columnheader" aria-sort={on ? order : "none"}>
                  <button
                    type="button"
                    class="sort"
                    title={help}
                    onClick={() => (sort.value = { column: key, descending: on && !sort.value.descending })}
                  >
                    {title}
                    <span aria-hidden="true">{on ? (sort.value.descending ? " ↓" : " ↑") : ""}</span>
                  </button>
                </div>
              );
            })}
          </div>
        }
        line={(at, state) => (
          <NodeLine key={nodes[at]!.ix} store={store} graph={graph} node={nodes[at]!} at={at} state={state} />
        )}
      />
    </div>
  );
}

interface LineProps {
  readonly store: Store;
  readonly graph: Graph;
  readonly node: GraphNode;
  readonly at: number;
  readonly state: LineState;
}

function NodeLine({ store, graph, node, at, state }: LineProps) {
  const { ix } = node;
  const names = useLineClass(store, ix);
  const label = fullLabel(ix, store.labels.value, store.supernodeOf.value, store.view.value.supernodes);
  const name = nodeName(graph, ix, label);
  const [into, out] = degree(graph, ix);
  const unseen = store.visible.value?.node[ix] === 0;
  const hidden = store.view.value.hidden.has(node.id);
  const strength = node.kind === "logit" ? percent(node.tokenProb) : node.activation === null ? "" : node.activation.toFixed(2);
  return (
    <div
      id={state.id}
      class={`line grid-line ${names} ${state.active ? "is-active" : ""} ${unseen || hidden ? "is-unseen" : ""}`}
      role="row"
      aria-rowindex={at + 2}
      aria-selected={names.includes("is-selected")}
      data-node={node.id}
      title={name}
      onClick={(event) => activate(store, ix, event)}
      onPointerEnter={() => hover(store, ix)}
      onPointerLeave={() => hover(store, null)}
    >
      <span class="cell cell-label" role="gridcell">
        <NodeGlyph kind={node.kind} state={names.includes("is-pinned") ? "pinned" : "plain"} />
        <span class="ellipsis" dir="auto">
          {name}
        </span>
        {names.includes("is-pinned") && <span class="unseen">, pinned</span>}
      </span>
      <span class="cell cell-pos" role="gridcell">
        <span class="muted">{node.pos}</span>
        <bdi class="token ellipsis" dir="auto">
          {displayToken(graph.tokens[node.pos] ?? "")}
        </bdi>
      </span>
      <span class="cell cell-row" role="gridcell">
        {rowName(graph, node.row)}
      </span>
      <span class="cell cell-activation" role="gridcell">
        {strength}
      </span>
      <span class="cell cell-influence" role="gridcell">
        {node.influence === null ? "" : percent(node.influence)}
      </span>
      <span class="cell cell-degree" role="gridcell">
        {into} / {out}
      </span>
    </div>
  );
}
