// The little language of the search field, and which nodes it finds.
//
//   capital            label, token, kind, id or number holds the word, whatever its case
//   "say a"            the same with spaces
//   label:texas        the label alone;      token:" the"  the token at the node's position
//   layer:12           also layer:3-7, layer:>20, layer:emb, layer:logit
//   pos:4              token position;       pos:2-5
//   type:error         feature, error, token, logit, attention, bias, unknown
//   act:>3.5           activation;           influence:<0.5    prob:>0.1
//   is:pinned          pinned, hidden, grouped
//   -type:error        none of these
//
// All words must fit. What cannot be understood (`layer:x`) finds nothing rather than everything.

import type { Graph, GraphNode, NodeIx, View } from "./types";

export interface SearchContext {
  readonly graph: Graph;
  readonly labels: readonly string[];
  readonly view: Pick<View, "hidden">;
  readonly pinned: ReadonlySet<NodeIx>;
  readonly supernodeOf: ReadonlyMap<NodeIx, string>;
}

type Test = (node: GraphNode, context: SearchContext) => boolean;

/** 1 per node found; null where nothing is searched for. */
export function search(text: string, context: SearchContext): Uint8Array | null {
  const tests = parse(text);
  if (tests.length === 0) return null;
  const hits = new Uint8Array(context.graph.nodes.length);
  for (const node of context.graph.nodes) {
    if (tests.every((test) => test(node, context))) hits[node.ix] = 1;
  }
  return hits;
}

const WORD = /(-?)(?:([a-z]+):)?(?:"([^"]*)"?|(\S+))/gi;

function parse(text: string): Test[] {
  const tests: Test[] = [];
  for (const match of text.matchAll(WORD)) {
    const field = match[2]?.toLowerCase();
    const value = (match[3] ?? match[4] ?? "").toLowerCase();
    if (value === "" && match[3] === undefined) continue;
    const test = field === undefined ? anywhere(value) : (fieldTest(field, value) ?? anywhere(`${field}:${value}`));
    tests.push(match[1] === "-" ? (node, context) => !test(node, context) : test);
  }
  return tests;
}

const token: (node: GraphNode, context: SearchContext) => string = (node, { graph }) =>
  node.kind === "logit" ? "" : (graph.tokens[node.pos] ?? "").toLowerCase();

function anywhere(word: string): Test {
  return (node, context) =>
    (context.labels[node.ix] ?? "").toLowerCase().includes(word) ||
    token(node, context).includes(word) ||
    node.kind.startsWith(word) ||
    node.id.toLowerCase().includes(word) ||
    String(node.feature ?? "") === word;
}

function fieldTest(field: string, value: string): Test | null {
  switch (field) {
    case "label":
      return (node, { labels }) => (labels[node.ix] ?? "").toLowerCase().includes(value);
    case "token":
      return (node, context) => token(node, context).includes(value);
    case "type":
    case "kind":
      return (node) => value !== "" && node.kind.startsWith(value);
    case "id":
      return (node) => node.id.toLowerCase() === value;
    case "layer": {
      if (value === "") return () => false;
      if ("embedding".startsWith(value)) return (node) => node.kind === "token";
      if ("logits".startsWith(value)) return (node) => node.kind === "logit";
      const fits = range(value);
      return (node) => node.kind !== "token" && node.kind !== "logit" && fits(node.row);
    }
    case "pos":
    case "position": {
      const fits = range(value);
      return (node) => fits(node.pos);
    }
    case "act":
    case "activation": {
      const fits = range(value);
      return (node) => node.activation !== null && fits(node.activation);
    }
    case "influence": {
      const fits = range(value);
      return (node) => node.influence !== null && fits(node.influence);
    }
    case "prob": {
      const fits = range(value);
      return (node) => node.kind === "logit" && fits(node.tokenProb);
    }
    case "is":
      return (node, context) =>
        value === "pinned"
          ? context.pinned.has(node.ix)
          : value === "hidden"
            ? context.view.hidden.has(node.id)
            : value === "grouped" && context.supernodeOf.has(node.ix);
    default:
      return null;
  }
}

/** `4`, `>4`, `>=4`, `<4`, `<=4`, `3-7`. */
function range(text: string): (x: number) => boolean {
  const between = /^(-?[\d.]+)(?:-|\.\.)(-?[\d.]+)$/.exec(text);
  if (between !== null) {
    const [low, high] = [Number(between[1]), Number(between[2])];
    return (x) => x >= low && x <= high;
  }
  const compared = /^(>=|<=|>|<|=)?(-?[\d.]+)$/.exec(text);
  if (compared === null) return () => false;
  const bound = Number(compared[2]);
  switch (compared[1]) {
    case ">":
      return (x) => x > bound;
    case ">=":
      return (x) => x >= bound;
    case "<":
      return (x) => x < bound;
    case "<=":
      return (x) => x <= bound;
    default:
      return (x) => x === bound;
  }
}
