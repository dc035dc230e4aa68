// Views in writing: the `qParams` of a file and the parameters of a link, in the types that anything has ever written them,
// to a `View` and back. Links as whole addresses are in `core/links.ts`.
//
// One unreadable parameter never blocks another: it becomes a sentence and is treated as absent.

import { userLabels } from "./labels";
import { isObject } from "./read";
import { items, placeOrder, supernodeKey } from "./subgraph";
import type { Graph, LinkType, NodeId, Selection, Supernode, View } from "./types";

/** A view as written, before it meets a graph. What is absent is undefined. */
export interface ViewParts {
  readonly pinned?: readonly NodeId[];
  readonly supernodes?: readonly { readonly label: string; readonly members: readonly NodeId[] }[];
  readonly linkType?: LinkType;
  readonly clicked?: string;
  readonly pruningThreshold?: number;
  readonly labels?: readonly (readonly [string, string])[];
  readonly hidden?: readonly string[];
  readonly positions?: readonly (readonly [string, readonly [number, number]])[];
  /** Thousandths, x and y in turn, in the order of `placeOrder`. */
  readonly places?: readonly number[];
  /** `A__vs__B`: of the graph rather than of the view, see `core/logit-diff.ts`. */
  readonly logitDiff?: string;
}

export interface Reading {
  readonly parts: ViewParts;
  /** A sentence per parameter that could not be read. */
  readonly problems: readonly string[];
}

export const EMPTY_VIEW: View = {
  pinned: [],
  supernodes: [],
  selection: null,
  linkType: "both",
  pruningThreshold: null,
  labels: new Map(),
  positions: new Map(),
  hidden: new Set(),
};

/** Written where a view has nothing but the file has something: an empty text would count as absent. */
export const NOTHING = { list: ",", json: "[]", clicked: "-", pruningThreshold: "1" } as const;

/** The keys of `qParams` that this page reads and writes; the address has them too. */
const KEYS: ReadonlySet<string> = new Set([
  "pinnedIds",
  "supernodes",
  "linkType",
  "clickedId",
  "pruningThreshold",
  "clerps",
  "hiddenIds",
  "positions",
  "sg_pos",
]);

/** Whether a parameter of an address means something here. What does not is kept and written back. */
export function isKnownParameter(key: string): boolean {
  return KEYS.has(key) || key === "slug" || key === "logitDiff";
}

/** A shorter beginning of a label says nothing. */
const MIN_STEM = 4;

class Unreadable extends Error {}

/** Reads typed and stringified values alike. */
export function readView(params: Readonly<Record<string, unknown>>): Reading {
  const problems: string[] = [];
  function take<T>(key: string, read: (value: unknown) => T): T | undefined {
    const value = params[key];
    if (value === undefined || value === null || value === "" || value === "null" || value === "undefined") return undefined;
    try {
      return read(value);
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      problems.push(`${key} cannot be read and is left out: ${error.message}.`);
      return undefined;
    }
  }
  const some = (message: string) => problems.push(message);
  const parts: ViewParts = {
    pinned: take("pinnedIds", ids),
    supernodes: take("supernodes", (value) => readSupernodes(value, some)),
    linkType: take("linkType", readLinkType),
    clicked: take("clickedId", (value) => unclosed(String(value).trim())),
    pruningThreshold: take("pruningThreshold", readThreshold),
    labels: take("clerps", (value) => readLabels(value, some)),
    hidden: take("hiddenIds", ids),
    positions: take("positions", readPositions),
    places: take("sg_pos", readPlaces),
    logitDiff: take("logitDiff", String),
  };
  return { parts, problems };
}

/** A list of ids, or their text joined by commas, or JSON. */
function ids(value: unknown): NodeId[] {
  if (typeof value === "string") {
    const text = value.trim();
    if (text.startsWith("[")) return ids(parseRepaired(text));
    return unique(
      (/%2c/i.test(text) ? decode(text) : text)
        .split(",")
        .map((id) => unclosed(id.trim()))
        .filter((id) => id !== ""),
    );
  }
  if (!Array.isArray(value)) throw new Unreadable("a list of node ids is expected");
  return unique(value.filter((id) => typeof id === "string" || typeof id === "number").map(String));
}

function readSupernodes(value: unknown, problem: (message: string) => void) {
  const list = typeof value === "string" ? parseRepaired(value) : value;
  if (!Array.isArray(list)) throw new Unreadable("a list of groups is expected");
  const groups: { label: string; members: NodeId[] }[] = [];
  for (const entry of list as unknown[]) {
    if (!Array.isArray(entry) || (typeof entry[0] !== "string" && typeof entry[0] !== "number")) {
      problem("supernodes: an entry is not a list that starts with a label, and is left out.");
      continue;
    }
    const members = ids(entry.slice(1));
    if (members.length > 0) groups.push({ label: String(entry[0]), members });
  }
  return groups;
}

function readLinkType(value: unknown): LinkType {
  const text = typeof value === "string" ? unclosed(value.trim()) : value;
  if (text === "input" || text === "output" || text === "either" || text === "both") return text;
  throw new Unreadable("input, output, either or both is expected");
}

function readThreshold(value: unknown): number {
  const number = typeof value === "string" ? Number(unclosed(value.trim())) : value;
  if (typeof number !== "number" || !Number.isFinite(number)) throw new Unreadable("a number from 0 to 1 is expected");
  return Math.min(1, Math.max(0, number));
}

function readLabels(value: unknown, problem: (message: string) => void): [string, string][] {
  const list = typeof value === "string" ? parseRepaired(value) : value;
  if (!Array.isArray(list)) throw new Unreadable("a list of pairs of key and label is expected");
  const pairs: [string, string][] = [];
  for (const entry of list as unknown[]) {
    if (Array.isArray(entry) && entry.length >= 2 && isKey(entry[0]) && typeof entry[1] === "string") {
      pairs.push([String(entry[0]), entry[1]]);
    } else {
      problem("clerps: an entry is not a pair of key and label, and is left out.");
    }
  }
  return pairs;
}

function isKey(value: unknown): boolean {
  return typeof value === "string" || typeof value === "number";
}

function readPositions(value: unknown): [string, [number, number]][] {
  const map = typeof value === "string" ? parseRepaired(value) : value;
  if (typeof map !== "object" || map === null || Array.isArray(map)) throw new Unreadable("an object of places is expected");
  const places: [string, [number, number]][] = [];
  for (const [key, place] of Object.entries(map)) {
    if (Array.isArray(place) && Number.isFinite(place[0]) && Number.isFinite(place[1])) {
      places.push([key, [clamp(place[0] as number), clamp(place[1] as number)]]);
    }
  }
  return places;
}

function readPlaces(value: unknown): number[] {
  const numbers = String(value).trim().split(/\s+/).map(Number);
  if (numbers.some((number) => !Number.isFinite(number))) throw new Unreadable("numbers with spaces between are expected");
  return numbers;
}

/**
 * JSON out of a link: as it is; without what follows the last bracket (a stray `)` of Markdown); decoded once more, since
 * an older page decoded twice.
 */
function parseRepaired(text: string): unknown {
  for (const form of [text, decode(text)]) {
    for (const attempt of [form, form.slice(0, Math.max(form.lastIndexOf("]"), form.lastIndexOf("}")) + 1)]) {
      try {
        return JSON.parse(attempt);
      } catch {
        // The next form may do.
      }
    }
  }
  throw new Unreadable("it is not JSON");
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Without a closing bracket that nothing opened, and the full stop or comma of the sentence it closed. */
function unclosed(text: string): string {
  return text.includes("(") ? text : text.replace(/\)[).,;]*$/, "");
}

function unique<T>(list: readonly T[]): T[] {
  return [...new Set(list)];
}

function clamp(x: number): number {
  return Math.min(1, Math.max(0, x));
}

/** Parts laid over one another: the first that has something rules. */
export function overlay(...layers: readonly ViewParts[]): ViewParts {
  const merged: Record<string, unknown> = {};
  for (const layer of [...layers].reverse()) {
    for (const [key, value] of Object.entries(layer)) if (value !== undefined) merged[key] = value;
  }
  return merged as ViewParts;
}

/** The view that parts make of a graph. */
export function makeView(graph: Graph, parts: ViewParts): View {
  const supernodes = (parts.supernodes ?? []).map(
    ({ label, members }, i): Supernode => ({ key: String(i + 1), label, members }),
  );
  const view: View = {
    ...EMPTY_VIEW,
    pinned: parts.pinned ?? [],
    supernodes,
    linkType: parts.linkType ?? EMPTY_VIEW.linkType,
    pruningThreshold: parts.pruningThreshold ?? null,
    labels: new Map(parts.labels ?? []),
    hidden: hiddenNodes(graph, parts.hidden ?? []),
    selection: readSelection(graph, supernodes, parts.clicked),
  };
  return { ...view, positions: readPlacesOf(graph, view, parts) };
}

/** Hidden ids are node ids here and feature ids, `layer_feature_position`, elsewhere. */
function hiddenNodes(graph: Graph, hidden: readonly string[]): ReadonlySet<NodeId> {
  if (hidden.length === 0) return EMPTY_VIEW.hidden;
  const byFeatureId = new Map<string, NodeId>();
  for (const node of graph.nodes) byFeatureId.set(`${graph.raw.nodes[node.ix]?.layer}_${node.feature}_${node.pos}`, node.id);
  return new Set(hidden.map((id) => (graph.byId.has(id) ? id : (byFeatureId.get(id) ?? id))));
}

/**
 * What was clicked: a node's id, a supernode as written here, or, in published links, a supernode's label that lost its
 * spaces, its punctuation or its end.
 */
function readSelection(graph: Graph, supernodes: readonly Supernode[], clicked: string | undefined): Selection | null {
  if (clicked === undefined) return null;
  if (graph.byId.has(clicked)) return { node: clicked };
  const found = groupOf(supernodes, clicked);
  return found === undefined ? null : { supernode: found.key };
}

/** Whether there is something to select under what was clicked. */
export function isGroupOrNode(graph: Graph, supernodes: readonly Omit<Supernode, "key">[], clicked: string): boolean {
  return graph.byId.has(clicked) || groupOf(supernodes, clicked) !== undefined;
}

function groupOf<Group extends Omit<Supernode, "key">>(supernodes: readonly Group[], clicked: string): Group | undefined {
  const bare = (label: string) => label.replace(/[^\p{L}\p{N}]+/gu, "").toLowerCase();
  const name = bare(clicked);
  return (
    supernodes.find((supernode) => fileSupernodeKey(supernode) === clicked) ??
    supernodes.find(({ label }) => label === clicked) ??
    (name === "" ? undefined : supernodes.find(({ label }) => bare(label) === name)) ??
    (name.length < MIN_STEM ? undefined : supernodes.find(({ label }) => bare(label).startsWith(name)))
  );
}

/** A supernode in a file, where keys of a running page mean nothing: by its first member. */
function fileSupernodeKey(supernode: Pick<Supernode, "members">): string {
  return supernodeKey(supernode.members[0]);
}

function readPlacesOf(graph: Graph, view: View, parts: ViewParts): ReadonlyMap<string, readonly [number, number]> {
  const places = new Map<string, readonly [number, number]>();
  if (parts.positions !== undefined && parts.positions.length > 0) {
    const supernodes = new Map(view.supernodes.map((supernode) => [fileSupernodeKey(supernode), supernode.key]));
    for (const [key, place] of parts.positions) {
      const supernode = supernodes.get(key);
      if (supernode !== undefined) places.set(supernodeKey(supernode), place);
      else if (key.startsWith("n:")) places.set(key, place);
    }
    return places;
  }
  const numbers = parts.places ?? [];
  const boxes = items(graph, view, []);
  if (numbers.length === 0 || numbers.length !== 2 * boxes.length) return places;
  placeOrder(graph, boxes).forEach((box, i) => {
    places.set(boxes[box].key, [clamp(numbers[2 * i] / 1000), clamp(numbers[2 * i + 1] / 1000)]);
  });
  return places;
}

/** What a selection is called in files and links. */
function writeSelection(view: View): string {
  const { selection } = view;
  if (selection === null) return "";
  if ("node" in selection) return selection.node;
  const supernode = view.supernodes.find(({ key }) => key === selection.supernode);
  return supernode === undefined ? "" : fileSupernodeKey(supernode);
}

/** Places of all boxes in the old form, or nothing unless every box has one. */
function writePlaces(graph: Graph, view: View): string {
  const boxes = items(graph, view, []);
  const numbers: number[] = [];
  for (const box of placeOrder(graph, boxes)) {
    const place = view.positions.get(boxes[box].key);
    if (place === undefined) return "";
    numbers.push(Math.round(place[0] * 1000), Math.round(place[1] * 1000));
  }
  return numbers.join(" ");
}

function writePositions(view: View): Record<string, [number, number]> {
  const written: Record<string, [number, number]> = {};
  const supernodes = new Map(view.supernodes.map((supernode) => [supernodeKey(supernode.key), fileSupernodeKey(supernode)]));
  for (const [key, [x, y]] of view.positions) {
    const name = key.startsWith("n:") ? key : supernodes.get(key);
    if (name !== undefined) written[name] = [x, y];
  }
  return written;
}

/** Supernodes as files and links list them. */
export function writeSupernodes(view: View): string[][] {
  return view.supernodes.map(({ label, members }) => [label, ...members]);
}

/** The `qParams` of a view, typed, with the keys of the file that mean nothing here. */
export function writeView(graph: Graph, view: View): Record<string, unknown> {
  const unknown = Object.entries(graph.raw.qParams).filter(([key]) => !KEYS.has(key));
  return {
    ...Object.fromEntries(unknown),
    pinnedIds: [...view.pinned],
    supernodes: writeSupernodes(view),
    linkType: view.linkType,
    clickedId: writeSelection(view),
    sg_pos: writePlaces(graph, view),
    pruningThreshold: view.pruningThreshold,
    clerps: [...view.labels],
    hiddenIds: [...view.hidden],
    positions: writePositions(view),
  };
}

/**
 * JSON for a link. Characters that mean something in an address are written as JSON's own escapes: Python's library decodes a
 * link twice, so that a percent escape of `&`, `#`, `+` or `%` would come apart there.
 */
function linkJson(value: unknown): string {
  return JSON.stringify(value).replace(/[&#+%;]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A view as the parameters of a link, in the order of older links; nothing is written for what is absent. */
export function writeParams(
  graph: Graph,
  view: View,
  labels: readonly (readonly [string, string])[] = [...view.labels],
): [string, string][] {
  const params: [string, string][] = [];
  const clicked = writeSelection(view);
  if (clicked !== "") params.push(["clickedId", clicked]);
  if (view.pinned.length > 0) params.push(["pinnedIds", view.pinned.join(",")]);
  if (view.supernodes.length > 0) params.push(["supernodes", linkJson(writeSupernodes(view))]);
  if (labels.length > 0) params.push(["clerps", linkJson(labels)]);
  if (view.pruningThreshold !== null) params.push(["pruningThreshold", String(view.pruningThreshold)]);
  if (view.linkType !== EMPTY_VIEW.linkType) params.push(["linkType", view.linkType]);
  if (view.hidden.size > 0) params.push(["hiddenIds", [...view.hidden].join(",")]);
  if (graph.logitDiff !== undefined) params.push(["logitDiff", graph.logitDiff]);
  return params;
}

/** The same for the page's own address, which also has to say what the file has and the view has not. */
export function writeAddress(graph: Graph, view: View, saved: View): [string, string][] {
  const params = writeParams(graph, view);
  const say = (key: string, missing: boolean, value: string) => {
    if (missing && !params.some(([written]) => written === key)) params.push([key, value]);
  };
  say("clickedId", saved.selection !== null, NOTHING.clicked);
  say("pinnedIds", saved.pinned.length > 0, NOTHING.list);
  say("supernodes", saved.supernodes.length > 0, NOTHING.json);
  say("clerps", saved.labels.size > 0, NOTHING.json);
  say("pruningThreshold", saved.pruningThreshold !== null, NOTHING.pruningThreshold);
  say("linkType", saved.linkType !== EMPTY_VIEW.linkType, EMPTY_VIEW.linkType);
  say("hiddenIds", saved.hidden.size > 0, NOTHING.list);
  return params;
}

/** Whether two views say the same but for what is selected. Places count to a thousandth. */
export function sameView(graph: Graph, a: View, b: View): boolean {
  if (a === b) return true;
  const text = (view: View) => {
    const {
      clickedId: _,
      positions,
      ...rest
    } = writeView(graph, view) as { positions: Record<string, [number, number]> } & Record<string, unknown>;
    const places = Object.entries(positions)
      .map(([key, [x, y]]) => [key, Math.round(x * 1000), Math.round(y * 1000)])
      .sort();
    return JSON.stringify({ ...rest, clerps: [...view.labels].sort(), hiddenIds: [...view.hidden].sort(), places });
  };
  return text(a) === text(b);
}

/** A file with a view and labels written into it: labels as `clerp`, the view as `qParams`, everything else as read. */
export function withView(graph: Graph, view: View, file: Record<string, unknown>): Record<string, unknown> {
  const own = userLabels(graph, view.labels);
  let ix = 0;
  // Nodes of a graph are the file's that are objects, in its order.
  const nodes = (file.nodes as unknown[]).map((node) => {
    if (!isObject(node)) return node;
    const label = own[ix];
    ix += 1;
    return label === undefined ? node : { ...node, clerp: label };
  });
  return { ...file, qParams: writeView(graph, view), nodes };
}
