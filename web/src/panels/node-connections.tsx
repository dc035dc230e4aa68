// What goes into the selection and what comes out of it: two lists of nodes with weight and share of input. Draws what the
// store derives; sorting is the only thing decided here.

// biome-ignore-all lint/a11y/useSemanticElements: options of a virtual list cannot be native ones
// biome-ignore-all lint/a11y/useFocusableInteractive: the list has the focus and names its active line
// biome-ignore-all lint/a11y/useKeyWithClickEvents: the list has the keys

import { computed, useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { displayToken } from "../core/tokens";
import type { Connection, Graph, NodeIx, Selection } from "../core/types";
import { connectionsCsv, saveText } from "../export/csv";
import { linkScale } from "../linkgraph/colours";
import type { Store } from "../store/store";
import { Icon, NodeGlyph } from "./icons";
import { activate, currentGraph, hover } from "./pointing";
import { fullLabel, nodeName, nodeNumber, percent, plural, rowName, signed } from "./text";
import type { LineState } from "./virtual-list";
import { VirtualList } from "./virtual-list";

type SortKey = "pctInput" | "weight";
interface Sort {
  readonly key: SortKey;
  readonly descending: boolean;
}

export function sorted(list: readonly Connection[], { key, descending }: Sort): readonly Connection[] {
  const sign = descending ? -1 : 1;
  // Values that are not numbers go last either way; equal ones keep the order of the file.
  const value = (connection: Connection) => (Number.isFinite(connection[key]) ? sign * connection[key] : Infinity);
  return [...list].sort((a, b) => value(a) - value(b));
}

export function NodeConnections({ store }: { store: Store }) {
  const sort = useSignal<Sort>({ key: "pctInput", descending: true });
  const graph = currentGraph(store);
  const selection = store.view.value.selection;
  const connections = store.connections.value;
  if (graph === null) return null;
  if (selection === null || connections === null) {
    return (
      <div class="empty">
        <p>Select a node to see what goes into it and what it feeds.</p>
        <p class="muted">Click one in the link graph, or find it by its label in “All nodes”.</p>
      </div>
    );
  }
  return (
    <div class="connections">
      <SelectionHead store={store} graph={graph} selection={selection} />
      <div class="connection-lists">
        <ConnectionList
          store={store}
          graph={graph}
          title="Input features"
          side="input"
          list={connections.inputs}
          sort={sort.value}
          onSort={(next) => (sort.value = next)}
        />
        <ConnectionList
          store={store}
          graph={graph}
          title="Output features"
          side="output"
          list={connections.outputs}
          sort={sort.value}
          onSort={(next) => (sort.value = next)}
        />
      </div>
    </div>
  );
}

function SelectionHead({ store, graph, selection }: { store: Store; graph: Graph; selection: Selection }) {
  const connections = store.connections.value;
  const csv = (
    <button
      type="button"
      class="button quiet"
      title="Both lists as a CSV file"
      onClick={() => connections !== null && saveText(`${graph.slug}-connections.csv`, "text/csv", connectionsCsv(store))}
    >
      CSV
    </button>
  );
  if ("supernode" in selection) {
    const group = store.view.value.supernodes.find((supernode) => supernode.key === selection.supernode);
    if (group === undefined) return null;
    return (
      <div class="selection-head" data-testid="selection-head">
        <button type="button" class="selection-name" title="Clear the selection" onClick={() => store.select(null)}>
          <span class="chip chip-group">group</span>
          <bdi class="ellipsis">{group.label}</bdi>
          <span class="muted nowrap">{plural(group.members.length, "member")}, summed</span>
        </button>
        <button type="button" class="button quiet" onClick={() => store.ungroup(group.key)}>
          Ungroup
        </button>
        {csv}
      </div>
    );
  }
  const ix = store.selectedNode.value;
  if (ix === null) return null;
  const node = graph.nodes[ix]!;
  const pinned = store.pinnedSet.value.has(ix);
  const hidden = store.view.value.hidden.has(node.id);
  return (
    <div class="selection-head" data-testid="selection-head">
      <button
        type="button"
        class="selection-name"
        title="Click clears the selection, Ctrl or Cmd and click pins"
        onClick={(event) => (event.ctrlKey || event.metaKey ? store.togglePin(node.id) : store.select(null))}
      >
        <NodeGlyph kind={node.kind} state={pinned ? "pinned" : "plain"} />
        <span class="mono muted nowrap">{nodeNumber(node)}</span>
        <bdi class="ellipsis">{nodeName(graph, ix, store.labels.value[ix] ?? "")}</bdi>
      </button>
      <button type="button" class={pinned ? "button quiet is-on" : "button quiet"} onClick={() => store.togglePin(node.id)}>
        <Icon name="pin" /> {pinned ? "Unpin" : "Pin"}
      </button>
      <button type="button" class={hidden ? "button quiet is-on" : "button quiet"} onClick={() => store.toggleHidden(node.id)}>
        {hidden ? "Show" : "Hide"}
      </button>
      {csv}
    </div>
  );
}

interface ListProps {
  readonly store: Store;
  readonly graph: Graph;
  readonly title: string;
  readonly side: "input" | "output";
  readonly list: readonly Connection[];
  readonly sort: Sort;
  readonly onSort: (sort: Sort) => void;
}

function ConnectionList({ store, graph, title, side, list, sort, onSort }: ListProps) {
  const lines = useMemo(() => sorted(list, sort), [list, sort]);
  const strongest = useMemo(() => list.reduce((max, { pctInput }) => Math.max(max, Math.abs(pctInput) || 0), 0), [list]);
  const from = store.selectedNode.value;
  const fromPos = from === null ? null : graph.nodes[from]!.pos;

  const sortButton = (key: SortKey, text: string, help: string) => {
    const on = sort.key === key;
    return (
      <button
        type="button"
        class={`sort sort-${key}`}
        title={help}
        aria-pressed={on}
        onClick={() => onSort({ key, descending: on ? !sort.descending : true })}
      >
        {text}
        <span aria-hidden="true">{on ? (sort.descending ? " ↓" : " ↑") : ""}</span>
        {on && <span class="unseen">, {sort.descending ? "largest first" : "smallest first"}</span>}
      </button>
    );
  };

  return (
    <section class="connection-list" aria-label={title} data-testid={`${side}s`}>
      <div class="connection-list-head">
        <h3>
          {title} <span class="muted">{list.length}</span>
        </h3>
        {sortButton("weight", "weight", "Direct effect")}
        {sortButton(
          "pctInput",
          "% input",
          side === "input" ? "Share of all that goes into the selection" : "Share of all that goes into the other node",
        )}
      </div>
      <VirtualList
        label={title}
        length={lines.length}
        lineHeight={1.625}
        content={lines}
        onMove={(at) => hover(store, at === null ? null : lines[at]!.node)}
        onEnter={(at, event) => activate(store, lines[at]!.node, event)}
        empty={<p class="empty-line muted">{side === "input" ? "Nothing goes in." : "Nothing comes out."}</p>}
        line={(at, state) => (
          <ConnectionLine
            // By place: another selection changes lines instead of making them anew.
            key={at}
            store={store}
            graph={graph}
            connection={lines[at]!}
            strongest={strongest}
            fromPos={fromPos}
            at={at}
            length={lines.length}
            state={state}
          />
        )}
      />
    </section>
  );
}

interface LineProps {
  readonly store: Store;
  readonly graph: Graph;
  readonly connection: Connection;
  readonly strongest: number;
  readonly fromPos: number | null;
  readonly at: number;
  readonly length: number;
  readonly state: LineState;
}

/** `is-hovered` and the like for a line that stands for a node. A line may come to stand for another one. */
export function useLineClass(store: Store, node: NodeIx): string {
  const flags = useMemo(
    () =>
      computed(() => {
        const names: string[] = [];
        if (store.hover.value === node) names.push("is-hovered");
        if (store.selectedNode.value === node) names.push("is-selected");
        if (store.pinnedSet.value.has(node)) names.push("is-pinned");
        return names.join(" ");
      }),
    [store, node],
  );
  return flags.value;
}

function arrow(pos: number, fromPos: number | null): { sign: string; words: string } {
  if (fromPos === null || pos === fromPos) return { sign: "", words: "" };
  return pos < fromPos ? { sign: "←", words: "earlier token" } : { sign: "→", words: "later token" };
}

function ConnectionLine({ store, graph, connection, strongest, fromPos, at, length, state }: LineProps) {
  const { node: ix, weight, pctInput } = connection;
  const node = graph.nodes[ix]!;
  const names = useLineClass(store, ix);
  const label = fullLabel(ix, store.labels.value, store.supernodeOf.value, store.view.value.supernodes);
  const shown = nodeName(graph, ix, label);
  const direction = arrow(node.pos, fromPos);
  const share = strongest > 0 ? Math.abs(pctInput) / strongest : 0;
  return (
    <div
      id={state.id}
      class={`line connection ${pctInput < 0 ? "is-negative" : "is-positive"} ${names} ${state.active ? "is-active" : ""}`}
      role="option"
      aria-selected={names.includes("is-selected")}
      aria-setsize={length}
      aria-posinset={at + 1}
      data-node={node.id}
      title={`${shown}\n${rowName(graph, node.row)}, token ${node.pos} “${displayToken(graph.tokens[node.pos] ?? "")}”`}
      onClick={(event) => activate(store, ix, event)}
      onPointerEnter={() => hover(store, ix)}
      onPointerLeave={() => hover(store, null)}
    >
      <span class="bar" aria-hidden="true" style={{ "--share": share }} />
      <NodeGlyph
        kind={node.kind}
        state={names.includes("is-pinned") ? "pinned" : "plain"}
        fill={linkScale.value.colour(Number.isFinite(pctInput) ? pctInput : 0)}
      />
      <span class="line-label ellipsis" dir="auto">
        {shown}
      </span>
      <span class="line-arrow" title={direction.words}>
        <span aria-hidden="true">{direction.sign}</span>
        <span class="unseen">{direction.words}</span>
      </span>
      <span class="line-row muted">{rowName(graph, node.row)}</span>
      <span class="line-number line-weight">{signed(weight)}</span>
      <span class="line-number">{percent(pctInput)}</span>
    </div>
  );
}
