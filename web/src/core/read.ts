// From the bytes of a graph file to a `Graph`: every producer's form, and whatever is odd about it counted, not refused.
//
// Only what is no graph at all (not JSON, no list of nodes) is an error. Views (`qParams`) are read in `core/view.ts`.

import { legacyIndex, unpair } from "./cantor";
import { parseLogitLabel } from "./tokens";
import type { Adjacency, Diagnostic, Graph, GraphNode, Links, NodeId, NodeIx, NodeKind, RawGraph } from "./types";

type Json = Readonly<Record<string, unknown>>;

/** Rows and columns beyond these cannot be drawn; a file that has them is damaged. */
const MAX_LAYER = 10_000;
const MAX_POSITION = 1_000_000;

const KINDS: ReadonlyMap<string, NodeKind> = new Map<string, NodeKind>([
  ["cross layer transcoder", "feature"],
  ["unexplored node", "feature"],
  ["mlp reconstruction error", "error"],
  ["lorsa error", "error"],
  ["embedding", "token"],
  ["logit", "logit"],
  ["lorsa", "attention"],
  ["bias", "bias"],
  ["unknown", "unknown"],
]);

/** A file that cannot be read as a graph. The message is a sentence for users. */
export class NotAGraph extends Error {}

/** Reads a file that came from `slug`, whose own name inside is not trusted. */
export function readGraph(file: Uint8Array, slug: string): Graph {
  return assemble(readParts(file, slug));
}

/** What can travel between a worker and the page: a `Graph` without its maps. */
export type GraphParts = Omit<Graph, "byId">;

export function assemble(parts: GraphParts): Graph {
  const byId = new Map<NodeId, NodeIx>();
  for (const node of parts.nodes) byId.set(node.id, node.ix);
  return { ...parts, byId };
}

/** Counts equal oddities. */
class Oddities {
  private readonly counts = new Map<string, number>();

  add(message: string): void {
    this.counts.set(message, (this.counts.get(message) ?? 0) + 1);
  }

  list(): Diagnostic[] {
    return [...this.counts].map(([message, count]) => ({ message, count }));
  }
}

/** Parses JSON as Python writes it: `NaN` and `Infinity` are read as null. */
export function parseJson(text: string): { value: unknown; replaced: number } {
  try {
    return { value: JSON.parse(text), replaced: 0 };
  } catch (error) {
    let replaced = 0;
    // Strings are matched first, so a word inside a string is left alone.
    const plain = text.replace(/"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g, (part) => {
      if (part.startsWith('"')) return part;
      replaced += 1;
      return "null";
    });
    if (replaced === 0) throw error;
    return { value: JSON.parse(plain), replaced };
  }
}

export function readParts(file: Uint8Array, slug: string): GraphParts {
  const oddities = new Oddities();
  let json: unknown;
  try {
    // The decoder drops a byte order mark.
    const parsed = parseJson(new TextDecoder().decode(file));
    json = parsed.value;
    for (let i = 0; i < parsed.replaced; i++) oddities.add("a number is written NaN or Infinity and is taken as missing");
  } catch (error) {
    throw new NotAGraph(`${slug} is not JSON: ${error instanceof Error ? error.message : String(error)}.`);
  }
  if (!isObject(json)) throw new NotAGraph(`${slug} is not a graph file: an object is expected at its top.`);
  if (!Array.isArray(json.nodes)) throw new NotAGraph(`${slug} is not a graph file: it has no list named nodes.`);

  const metadata = isObject(json.metadata) ? json.metadata : {};
  if (!isObject(json.metadata)) oddities.add("the file has no metadata");
  const qParams = isObject(json.qParams) ? json.qParams : {};
  const rawNodes: Json[] = [];
  for (const node of json.nodes as unknown[]) {
    if (isObject(node)) rawNodes.push(node);
    else oddities.add("a node is not an object and was left out");
  }

  const version = metadata.schema_version;
  const legacy = typeof version !== "number" || version < 1;
  const nodes = readNodes(rawNodes, legacy, oddities);
  const rawLinks: unknown = json.links;
  if (!Array.isArray(rawLinks)) oddities.add("the file has no list named links");
  const links = readLinks(Array.isArray(rawLinks) ? rawLinks : [], nodes.list, oddities);

  const raw: RawGraph = { ...json, metadata, qParams, nodes: rawNodes, links: undefined };
  return {
    slug,
    scan: text(metadata.scan) ?? "",
    scans: strings(metadata.transcoder_list),
    prompt: text(metadata.prompt) ?? strings(metadata.prompt_tokens).join(""),
    tokens: strings(metadata.prompt_tokens),
    nodeThreshold: finite(metadata.node_threshold),
    nodes: nodes.list,
    links,
    inputs: adjacency(links.target, nodes.list.length),
    outputs: adjacency(links.source, nodes.list.length),
    logitRow: nodes.logitRow,
    diagnostics: oddities.list(),
    raw,
    file,
  };
}

/** Ids of three whole numbers, `layer_index_position`; an error's index is -1. */
const PLAIN_ID = /^(\d+)_(-?\d+)_(\d+)$/;
/** Ids of Neuronpedia's other features, `layer_cro_index_position` and `layer_lor_index_position`. */
const NAMED_ID = /^(\d+)_(?:cro|lor)_(\d+)_(\d+)$/;

function readNodes(raw: readonly Json[], legacy: boolean, oddities: Oddities): { list: GraphNode[]; logitRow: number } {
  const list: GraphNode[] = [];
  const used = new Map<NodeId, NodeKind>();
  let top = -1;

  for (const node of raw) {
    const type = text(node.feature_type);
    let id = text(node.node_id) ?? (typeof node.node_id === "number" ? String(node.node_id) : null);
    const layer = node.layer;
    let kind = type === null ? undefined : KINDS.get(type);
    const known = kind !== undefined;
    if (kind === undefined) {
      kind = layer === "E" || id?.startsWith("E_") ? "token" : layer === "Lgt" ? "logit" : "feature";
      oddities.add(
        type === null ? "a node has no feature_type" : `the feature_type “${type}” is not known; drawn as a ${kind}`,
      );
    }
    if (id === null) {
      id = `unnamed ${list.length}`;
      oddities.add("a node has no node_id; no link can reach it");
    }

    const plain = PLAIN_ID.exec(id);
    const named = plain ?? NAMED_ID.exec(id);
    const row = layerOf(layer) ?? (named ? layerOf(named[1]) : null);
    if (row === null && kind !== "token" && kind !== "logit") oddities.add("a node has no layer; drawn in layer 0");
    const position = whole(node.ctx_idx, MAX_POSITION) ?? whole(id.slice(id.lastIndexOf("_") + 1), MAX_POSITION);
    if (position === null) oddities.add("a node has no position; drawn at position 0");

    const feature = finite(node.feature);
    const inLayer = row ?? 0;
    let index: number | null = null;
    // A feature of a type that we do not know has no page.
    if (known && (kind === "feature" || kind === "attention")) {
      if (named) index = Number(named[2]);
      else if (feature !== null && feature >= 0) index = indexOf(feature, inLayer, legacy);
      if (index !== null && index < 0) index = null;
    }

    const taken = used.get(id);
    if (taken !== undefined) {
      id = freeId(id, kind, inLayer, position ?? 0, used);
      oddities.add(
        taken === kind
          ? "two nodes have the same node_id; links go to the first"
          : `a node of type ${taken} and one of type ${kind} have the same node_id; links go to the first in the file`,
      );
    }
    used.set(id, kind);

    const clerp = text(node.clerp) ?? "";
    const placed = kind === "token" ? -1 : kind === "logit" ? 0 : inLayer;
    if (kind !== "logit" && placed > top) top = placed;
    list.push({
      ix: list.length,
      id,
      kind,
      row: placed,
      pos: position ?? 0,
      index,
      feature,
      clerp,
      influence: finite(node.influence),
      activation: finite(node.activation),
      tokenProb: finite(node.token_prob) ?? (kind === "logit" ? (parseLogitLabel(clerp).probability ?? 0) : 0),
      isTarget: node.is_target_logit === true,
    });
  }

  const logitRow = top + 1;
  return { list: list.map((node) => (node.kind === "logit" ? { ...node, row: logitRow } : node)), logitRow };
}

/** Index of a feature whose id does not say it. */
function indexOf(feature: number, layer: number, legacy: boolean): number | null {
  if (legacy) return legacyIndex(feature, layer);
  const pair = unpair(feature);
  return pair.layer === layer ? pair.index : legacyIndex(feature, layer);
}

/**
 * Another id for the second node of an id. Old files name the error of (layer, position) `0_{layer}_{position}`, which
 * is also a feature of layer 0: such an error gets the id that newer files give it.
 */
function freeId(id: NodeId, kind: NodeKind, layer: number, position: number, used: ReadonlyMap<NodeId, NodeKind>): NodeId {
  const newer = `${layer}_-1_${position}`;
  if (kind === "error" && !used.has(newer)) return newer;
  let n = 2;
  while (used.has(`${id}#${n}`)) n += 1;
  return `${id}#${n}`;
}

function readLinks(raw: readonly unknown[], nodes: readonly GraphNode[], oddities: Oddities): Links {
  const byId = new Map<NodeId, NodeIx>();
  for (const node of nodes) byId.set(node.id, node.ix);
  const source = new Uint32Array(raw.length);
  const target = new Uint32Array(raw.length);
  const weight = new Float64Array(raw.length);
  let n = 0;
  for (const link of raw) {
    if (!isObject(link)) {
      oddities.add("a link is not an object and was left out");
      continue;
    }
    const from = byId.get(String(link.source));
    const to = byId.get(String(link.target));
    if (from === undefined || to === undefined) {
      oddities.add("a link has an end that is no node of the file and was left out");
      continue;
    }
    const w = finite(link.weight);
    if (w === null) {
      oddities.add("a link has no finite weight and was left out");
      continue;
    }
    source[n] = from;
    target[n] = to;
    weight[n] = w;
    n += 1;
  }
  return n === raw.length
    ? { source, target, weight }
    : { source: source.slice(0, n), target: target.slice(0, n), weight: weight.slice(0, n) };
}

/** Links by one of their ends, in the order of the file. */
export function adjacency(ends: Uint32Array, nNodes: number): Adjacency {
  const start = new Uint32Array(nNodes + 1);
  for (let i = 0; i < ends.length; i++) start[ends[i] + 1] += 1;
  for (let n = 0; n < nNodes; n++) start[n + 1] += start[n];
  const next = start.slice(0, nNodes);
  const link = new Uint32Array(ends.length);
  for (let i = 0; i < ends.length; i++) {
    const end = ends[i];
    link[next[end]] = i;
    next[end] += 1;
  }
  return { start, link };
}

function layerOf(layer: unknown): number | null {
  return layer === "E" ? -1 : whole(layer, MAX_LAYER);
}

export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.map((item) => (typeof item === "string" ? item : String(item ?? ""))) : [];
}

/** A finite number, or null. Some producers write numbers as text. */
function finite(value: unknown): number | null {
  const number =
    typeof value === "number" ? value : typeof value === "string" && value.trim() !== "" ? Number(value) : Number.NaN;
  return Number.isFinite(number) ? number : null;
}

/** A whole number from 0 to `max`, or null. */
function whole(value: unknown, max: number): number | null {
  const number = finite(value);
  return number !== null && Number.isInteger(number) && number >= 0 && number <= max ? number : null;
}
