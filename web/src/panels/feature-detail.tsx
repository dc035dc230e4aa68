// The page of one node: of the hovered one, else of the selected one. The store loads a feature's record and drops late answers;
// this draws its state, whatever it is.

import { useComputed, useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { meaningfulLabel } from "../core/labels";
import { percentile } from "../core/record";
import { displayToken } from "../core/tokens";
import type { FeatureRecord, Graph, GraphNode, NodeIx } from "../core/types";
import type { Load, Store } from "../store/store";
import type { Run } from "./examples";
import { strength, windowOf } from "./examples";
import { Histogram } from "./histogram";
import { Icon, NodeGlyph } from "./icons";
import { LabelEditor } from "./label-editor";
import { activate, currentGraph, hover } from "./pointing";
import { fullLabel, kindName, nodeName, nodeNumber, ordinal, percent, rowName, sentence } from "./text";

/** Lists of strings some producers put into a node. */
const NODE_LISTS = [
  ["top_logit_effects", "Strongest outputs"],
  ["bottom_logit_effects", "Weakest outputs"],
  ["top_embedding_effects", "Strongest inputs"],
  ["bottom_embedding_effects", "Weakest inputs"],
] as const;

export function FeatureDetail({ store }: { store: Store }) {
  const wrapped = useSignal(false);
  const shown = useComputed(() => store.hover.value ?? store.selectedNode.value);
  const graph = currentGraph(store);
  const ix = shown.value;
  if (graph === null) return null;
  if (ix === null) {
    const selection = store.view.value.selection;
    if (selection !== null && "supernode" in selection) {
      return <SupernodeMembers store={store} graph={graph} supernode={selection.supernode} />;
    }
    return (
      <div class="empty">
        <p>Point at a feature to see the texts on which it is active.</p>
        <p class="muted">A click keeps it here; Shift holds it while the pointer travels.</p>
      </div>
    );
  }
  const node = graph.nodes[ix]!;
  const hasPage = node.kind === "feature" || node.kind === "attention";
  return (
    <article class="feature" data-testid="feature" data-node={node.id}>
      <NodeHead store={store} graph={graph} node={node} load={hasPage ? store.feature.value : null} />
      <NodeLists graph={graph} ix={ix} />
      {hasPage && <Page load={store.feature.value} wrapped={wrapped.value} onWrap={() => (wrapped.value = !wrapped.value)} />}
    </article>
  );
}

function NodeHead({
  store,
  graph,
  node,
  load,
}: {
  store: Store;
  graph: Graph;
  node: GraphNode;
  load: Load<FeatureRecord> | null;
}) {
  const { ix } = node;
  const pinned = store.pinnedSet.value.has(ix);
  const label = meaningfulLabel(graph, store.view.value.labels, ix) ?? "";
  const record = load?.state === "ready" ? load.value : null;
  const token = displayToken(graph.tokens[node.pos] ?? "");
  const place = node.index === null ? rowName(graph, node.row) : `${rowName(graph, node.row)}/${node.index}`;
  const title = load === null ? capital(kindName(node.kind)) : `Feature ${place}`;
  return (
    <header class="feature-head">
      <div class="feature-title-line">
        <button
          type="button"
          class="feature-title"
          title={`${nodeNumber(node)}: click selects, Ctrl or Cmd and click pins`}
          onClick={(event) => activate(store, ix, event)}
        >
          <NodeGlyph kind={node.kind} state={pinned ? "pinned" : "plain"} />
          <bdi class="ellipsis">{title}</bdi>
        </button>
        <span class="muted nowrap feature-place">
          {rowName(graph, node.row)} · position {node.pos}{" "}
          <bdi class="token" dir="auto">
            {token}
          </bdi>
        </span>
      </div>
      <LabelEditor store={store} node={ix} label={label} placeholder="no label yet" />
      {label === "" && record?.automaticLabel != null && (
        <p
          class="automatic-label muted"
          data-testid="automatic-label"
          title="Made by rule from the texts and outputs below, by nobody"
        >
          <span class="automatic-mark">automatic</span> <bdi>{record.automaticLabel}</bdi>
        </p>
      )}
      <div class="feature-facts">
        <NodeNumbers node={node} record={record} />
        {record !== null && <Histogram record={record} current={node.activation} />}
      </div>
    </header>
  );
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function NodeNumbers({ node, record }: { node: GraphNode; record: FeatureRecord | null }) {
  const numbers: { name: string; value: string; help: string }[] = [];
  if (node.activation !== null) {
    const rank = record === null ? null : percentile(record, node.activation);
    const value = node.activation.toFixed(2) + (rank === null ? "" : ` (${ordinal(rank)} percentile)`);
    numbers.push({ name: "activation", value, help: "Here, and where that is among all tokens on which it is active" });
  }
  if (record?.frequency != null) {
    const value = `${(record.frequency * 100).toFixed(3)} %`;
    numbers.push({ name: "frequency", value, help: "Share of tokens on which the feature is active" });
  }
  if (node.kind === "logit") numbers.push({ name: "probability", value: percent(node.tokenProb), help: "Of this output" });
  if (node.influence !== null) {
    const value = `in the top ${percent(node.influence)}`;
    numbers.push({ name: "influence", value, help: "The node is among those that make up this share of all influence" });
  }
  if (numbers.length === 0) return null;
  return (
    <dl class="numbers">
      {numbers.map(({ name, value, help }) => (
        <div key={name} title={help}>
          <dt>{name}</dt>
          <dd data-testid={name.replace(" ", "-")}>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function NodeLists({ graph, ix }: { graph: Graph; ix: NodeIx }) {
  const raw = graph.raw.nodes[ix] ?? {};
  const lists = NODE_LISTS.flatMap(([key, title]) => {
    const value = raw[key];
    if (!Array.isArray(value)) return [];
    const texts = value.filter((text): text is string => typeof text === "string");
    return texts.length === 0 ? [] : [{ key, title, texts }];
  });
  if (lists.length === 0) return null;
  return (
    <div class="predictions">
      {lists.map(({ key, title, texts }) => (
        <Chips key={key} title={title} texts={texts} />
      ))}
    </div>
  );
}

function Chips({ title, texts }: { title: string; texts: readonly string[] }) {
  return (
    <div class="chips">
      <h4>{title}</h4>
      <ul>
        {texts.map((text, at) => (
          <li key={at} class="token" dir="auto">
            {displayToken(text)}
          </li>
        ))}
      </ul>
    </div>
  );
}

function Page({ load, wrapped, onWrap }: { load: Load<FeatureRecord>; wrapped: boolean; onWrap: () => void }) {
  switch (load.state) {
    case "loading":
      return (
        <div class="feature-state" role="status" data-testid="feature-loading">
          <span class="spinner" aria-hidden="true" /> Loading this feature’s examples…
        </div>
      );
    case "empty":
      return null;
    case "error":
      // What asking again cannot change is no failure: most often the set has no page of this feature.
      return load.retry === undefined ? (
        <div class="feature-state notice" data-testid="feature-none">
          <p>{sentence(load.message)}</p>
        </div>
      ) : (
        <div class="feature-state notice notice-error" role="alert" data-testid="feature-error">
          <p>{sentence(load.message)}</p>
          <button type="button" class="button" onClick={load.retry}>
            Try again
          </button>
        </div>
      );
    case "ready":
      return <Record record={load.value} wrapped={wrapped} onWrap={onWrap} />;
  }
}

function Record({ record, wrapped, onWrap }: { record: FeatureRecord; wrapped: boolean; onWrap: () => void }) {
  const groups = useMemo(
    () => record.examples.map(({ name, examples }) => ({ name, windows: examples.map(windowOf) })),
    [record],
  );
  const none = groups.every(({ windows }) => windows.length === 0);
  return (
    <>
      <section class="predictions" aria-label="Token predictions">
        {record.topLogits.length > 0 && <Chips title="Top" texts={record.topLogits} />}
        {record.bottomLogits.length > 0 && <Chips title="Bottom" texts={record.bottomLogits} />}
      </section>
      {none ? (
        <p class="feature-state muted">The record of this feature has no examples.</p>
      ) : (
        <div class={wrapped ? "examples is-wrapped" : "examples"} data-testid="examples">
          <button type="button" class="button quiet wrap-button" aria-pressed={wrapped} onClick={onWrap}>
            <Icon name="wrap" /> Whole texts
          </button>
          {groups.map(({ name, windows }, group) => (
            <section key={group}>
              <h4 dir="auto">{name}</h4>
              {windows.map(({ before, train, after, repeated }, at) => (
                <p
                  key={at}
                  class={repeated ? "example is-repeated" : "example"}
                  dir="auto"
                  title={repeated ? "Repeats another example" : undefined}
                >
                  <span class="example-before">
                    <span>
                      <Runs runs={before} record={record} />
                    </span>
                  </span>
                  {train !== null && <Token run={train} record={record} train />}
                  <span class="example-after">
                    <Runs runs={after} record={record} />
                  </span>
                </p>
              ))}
            </section>
          ))}
        </div>
      )}
    </>
  );
}

function Runs({ runs, record }: { runs: readonly Run[]; record: FeatureRecord }) {
  return runs.map((run, at) => <Token key={at} run={run} record={record} />);
}

function Token({ run, record, train = false }: { run: Run; record: FeatureRecord; train?: boolean }) {
  const heat = strength(run.activation, record.actMin, record.actMax);
  const text = displayToken(run.text);
  if (heat === 0 && !train) return <>{text}</>;
  return (
    <span
      class={train ? "heat is-train" : "heat"}
      data-testid={train ? "train-token" : undefined}
      title={run.activation.toFixed(2)}
      style={{ "--heat-share": `${(heat * 100).toFixed(1)}%` }}
    >
      {text}
    </span>
  );
}

function SupernodeMembers({ store, graph, supernode }: { store: Store; graph: Graph; supernode: string }) {
  const group = store.view.value.supernodes.find(({ key }) => key === supernode);
  if (group === undefined) return null;
  return (
    <article class="feature">
      <header class="feature-head">
        <div class="feature-title-line">
          <bdi class="feature-title">{group.label}</bdi>
        </div>
      </header>
      <ul class="members">
        {group.members.map((id) => {
          const ix = graph.byId.get(id);
          if (ix === undefined) {
            return (
              <li key={id} class="muted">
                {id} is not in this graph
              </li>
            );
          }
          const node = graph.nodes[ix]!;
          const label = fullLabel(ix, store.labels.value, new Map(), []);
          return (
            <li key={id}>
              <button
                type="button"
                class="line member"
                onClick={(event) => activate(store, ix, event)}
                onPointerEnter={() => hover(store, ix)}
                onPointerLeave={() => hover(store, null)}
              >
                <NodeGlyph kind={node.kind} state={store.pinnedSet.value.has(ix) ? "pinned" : "plain"} />
                <bdi class="ellipsis">{nodeName(graph, ix, label)}</bdi>
                <span class="muted">{rowName(graph, node.row)}</span>
              </button>
            </li>
          );
        })}
      </ul>
    </article>
  );
}
