// Labels given by users: the three styles of keys that `clerps` come in, which nodes a key means, and what a node is called.
//
// Keys, from the most to the least specific: a node's id; `layer_feature_position`; `layer_feature`; the bare feature number.
// The more specific wins. A label given here to a feature gets the bare number, so that it holds at every position.

import { pair } from "./cantor";
import { displayToken } from "./tokens";
import type { Graph, GraphNode, NodeIx } from "./types";

export type Labels = ReadonlyMap<string, string>;

const BY_ID = 4;
const BY_POSITION = 3;
const BY_LAYER = 2;
const BY_NUMBER = 1;

interface Index {
  readonly byPlace: ReadonlyMap<string, readonly NodeIx[]>;
  readonly byLayer: ReadonlyMap<string, readonly NodeIx[]>;
  readonly byNumber: ReadonlyMap<string, readonly NodeIx[]>;
  /** The number that the other schema gives to a feature, since published links outlive their files. */
  readonly byAlias: ReadonlyMap<string, readonly NodeIx[]>;
}

const indexes = new WeakMap<Graph, Index>();

function indexOf(graph: Graph): Index {
  const known = indexes.get(graph);
  if (known !== undefined) return known;
  const byPlace = new Map<string, NodeIx[]>();
  const byLayer = new Map<string, NodeIx[]>();
  const byNumber = new Map<string, NodeIx[]>();
  const byAlias = new Map<string, NodeIx[]>();
  for (const node of graph.nodes) {
    if (node.feature === null) continue;
    const layer = fileLayer(graph, node);
    add(byPlace, `${layer}_${node.feature}_${node.pos}`, node.ix);
    if (!isFeature(node)) continue;
    add(byLayer, `${layer}_${node.feature}`, node.ix);
    add(byNumber, String(node.feature), node.ix);
    if (node.index === null) continue;
    for (const alias of aliases(node.row, node.index)) if (alias !== node.feature) add(byAlias, String(alias), node.ix);
  }
  const index = { byPlace, byLayer, byNumber, byAlias };
  indexes.set(graph, index);
  return index;
}

function add(map: Map<string, NodeIx[]>, key: string, ix: NodeIx): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [ix]);
  else list.push(ix);
}

/** Every number that some schema gives to a feature. */
function aliases(layer: number, index: number): number[] {
  const numbers = [pair(layer, index)];
  for (const width of [5, 6]) {
    const padded = String(index).padStart(width, "0");
    if (padded.length === width) numbers.push(Number(`${layer}${padded}`));
  }
  return numbers;
}

/** Nodes that a label may cover at all positions; a token's or an error's number means something else. */
function isFeature(node: GraphNode): boolean {
  return node.kind === "feature" || node.kind === "attention";
}

/** The layer as the file writes it, which for tokens and logits is not their row. */
function fileLayer(graph: Graph, node: GraphNode): string {
  const layer = graph.raw.nodes[node.ix]?.layer;
  return typeof layer === "string" || typeof layer === "number" ? String(layer) : String(node.row);
}

/** The nodes that a key means, and how specific it is. */
function targets(graph: Graph, key: string): { rank: number; nodes: readonly NodeIx[] } | null {
  const ix = graph.byId.get(key);
  if (ix !== undefined) return { rank: BY_ID, nodes: [ix] };
  const { byPlace, byLayer, byNumber, byAlias } = indexOf(graph);
  const parts = key.split("_");
  if (parts.length === 3) {
    const here = byPlace.get(key);
    if (here !== undefined) return { rank: BY_POSITION, nodes: here };
    const other = matching(graph, byAlias.get(parts[1]), Number(parts[0]), Number(parts[2]));
    return other && { rank: BY_POSITION, nodes: other };
  }
  if (parts.length === 2) {
    const here = byLayer.get(key);
    if (here !== undefined) return { rank: BY_LAYER, nodes: here };
    const other = matching(graph, byAlias.get(parts[1]), Number(parts[0]), null);
    return other && { rank: BY_LAYER, nodes: other };
  }
  const nodes = byNumber.get(key) ?? byAlias.get(key);
  return nodes === undefined ? null : { rank: BY_NUMBER, nodes };
}

function matching(
  graph: Graph,
  nodes: readonly NodeIx[] | undefined,
  layer: number,
  position: number | null,
): readonly NodeIx[] | null {
  const found = (nodes ?? []).filter((ix) => {
    const node = graph.nodes[ix];
    return node.row === layer && (position === null || node.pos === position);
  });
  return found.length > 0 ? found : null;
}

/** The user's label of every node, undefined where there is none. */
export function userLabels(graph: Graph, labels: Labels): (string | undefined)[] {
  const found = new Array<string | undefined>(graph.nodes.length).fill(undefined);
  if (labels.size === 0) return found;
  const rank = new Uint8Array(graph.nodes.length);
  for (const [key, label] of labels) {
    if (label === "") continue;
    const meant = targets(graph, key);
    if (meant === null) continue;
    for (const ix of meant.nodes) {
      if (meant.rank < rank[ix]) continue;
      rank[ix] = meant.rank;
      found[ix] = label;
    }
  }
  return found;
}

/** What every node is called: the user's label, else the file's, else what its kind suggests. */
export function shownLabels(graph: Graph, labels: Labels): string[] {
  const own = userLabels(graph, labels);
  return graph.nodes.map((node) => own[node.ix] ?? defaultLabel(graph, node));
}

export function defaultLabel(graph: Graph, node: GraphNode): string {
  if (node.clerp !== "") return node.clerp;
  const token = displayToken(graph.tokens[node.pos] ?? "");
  switch (node.kind) {
    case "token":
      return `Emb: “${token}”`;
    case "error":
      return `Err: ${node.id.includes("attn") ? "attn" : "mlp"} “${token}”`;
    case "logit":
      return node.feature === null ? "Output" : `Output #${node.feature}`;
    case "bias":
      return `Bias: L${node.row} “${token}”`;
    default:
      return node.index === null ? node.id : `L${node.row}/${node.index}`;
  }
}

/** A label that says more than where a node is: a user's or the file's. */
export function meaningfulLabel(graph: Graph, labels: Labels, ix: NodeIx): string | null {
  const node = graph.nodes[ix];
  const own = keysOf(graph, labels, ix)[0];
  if (own !== undefined) return labels.get(own) ?? null;
  return node.clerp !== "" || node.kind === "token" || node.kind === "error" ? defaultLabel(graph, node) : null;
}

/** Keys that now give a node a label, the most specific first. */
function keysOf(graph: Graph, labels: Labels, ix: NodeIx): string[] {
  const found: { key: string; rank: number }[] = [];
  for (const [key, label] of labels) {
    if (label === "") continue;
    const meant = targets(graph, key);
    if (meant?.nodes.includes(ix)) found.push({ key, rank: meant.rank });
  }
  // Later entries win among equals, as in `userLabels`.
  return found
    .reverse()
    .sort((a, b) => b.rank - a.rank)
    .map(({ key }) => key);
}

/** The key under which a new label of a node is kept. */
export function newKey(node: GraphNode): string {
  return isFeature(node) && node.feature !== null ? String(node.feature) : node.id;
}

/**
 * Labels with a node's changed. A label that came with a narrow key keeps its scope; a new one holds wherever the feature
 * is active; an empty text takes away every label that the node had.
 */
export function withLabel(graph: Graph, labels: Labels, ix: NodeIx, label: string): Labels {
  const changed = new Map(labels);
  const keys = keysOf(graph, labels, ix);
  const text = label.trim();
  if (text === "") {
    for (const key of keys) changed.delete(key);
  } else {
    changed.set(keys[0] ?? newKey(graph.nodes[ix]), text);
  }
  return changed;
}

/** Labels as a link of circuit-tracer holds them: by bare number; a position that differs follows under a longer key. */
export function circuitTracerPairs(graph: Graph, labels: Labels): [string, string][] {
  const pairs: [string, string][] = [];
  const byNumber = new Map<string, string>();
  const own = userLabels(graph, labels);
  for (const node of graph.nodes) {
    const label = own[node.ix];
    if (label === undefined) continue;
    const key = newKey(node);
    const known = byNumber.get(key);
    if (known === undefined) {
      byNumber.set(key, label);
      pairs.push([key, label]);
    } else if (known !== label) {
      pairs.push([node.id, label]);
    }
  }
  return pairs;
}

/** Labels as Neuronpedia holds them, one per node. */
export function neuronpediaPairs(graph: Graph, labels: Labels): [string, string][] {
  const own = userLabels(graph, labels);
  const pairs: [string, string][] = [];
  for (const node of graph.nodes) {
    const label = own[node.ix];
    if (label === undefined) continue;
    pairs.push([node.feature === null ? node.id : `${fileLayer(graph, node)}_${node.feature}_${node.pos}`, label]);
  }
  return pairs;
}

/** Where a label that holds for a feature everywhere is remembered: per scan; the parts of a made-up set are the scans. */
export function scanOf(graph: Graph, node: GraphNode): string {
  return graph.scans[node.row] ?? graph.scan;
}

/** The key by which a scan's labels are remembered, `layer/index`: it does not depend on how a file numbers features. */
export function rememberedKey(node: GraphNode): string | null {
  return isFeature(node) && node.index !== null ? `${node.row}/${node.index}` : null;
}

/** The (layer, index) that a key names, if it names a feature of the graph wherever it is active. */
export function featureOfKey(graph: Graph, key: string): GraphNode | null {
  const meant = targets(graph, key);
  return meant !== null && meant.rank <= BY_LAYER ? graph.nodes[meant.nodes[0]] : null;
}
