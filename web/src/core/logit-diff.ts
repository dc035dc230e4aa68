// The difference of two logits as one more node: what speaks for A rather than B. It lives in the page alone; files and downloads
// do not have it.

import { adjacency } from "./read";
import { parseLogitLabel } from "./tokens";
import type { Graph, GraphNode } from "./types";

export const LOGIT_DIFF_ID = "logit-diff";

/** The graph with a node for `A__vs__B`, two texts of tokens; the graph itself where one of them is no logit of it. */
export function withLogitDiff(graph: Graph, asked: string): Graph {
  const [textA, textB, ...more] = asked.split("__vs__");
  if (textB === undefined || more.length > 0 || graph.byId.has(LOGIT_DIFF_ID)) return graph;
  const a = logitOf(graph, textA);
  const b = logitOf(graph, textB);
  if (a === null || b === null || a === b) return graph;

  const { source, target, weight } = graph.links;
  const difference = new Map<number, number>();
  for (const [node, sign] of [
    [a, 1],
    [b, -1],
  ] as const) {
    const { start, link } = graph.inputs;
    for (let i = start[node.ix]; i < start[node.ix + 1]; i++) {
      const l = link[i];
      difference.set(source[l], (difference.get(source[l]) ?? 0) + sign * weight[l]);
    }
  }
  const added = [...difference].filter(([, w]) => w !== 0);

  const ix = graph.nodes.length;
  const node: GraphNode = {
    ...a,
    ix,
    id: LOGIT_DIFF_ID,
    feature: null,
    clerp: `Logit diff: ${textA} − ${textB}`,
    influence: null,
    tokenProb: 0,
    isTarget: false,
  };
  const nLinks = weight.length;
  const links = {
    source: new Uint32Array(nLinks + added.length),
    target: new Uint32Array(nLinks + added.length).fill(ix),
    weight: new Float64Array(nLinks + added.length),
  };
  links.source.set(source);
  links.target.set(target);
  links.weight.set(weight);
  added.forEach(([from, w], i) => {
    links.source[nLinks + i] = from;
    links.weight[nLinks + i] = w;
  });
  const raw = { node_id: node.id, feature_type: "logit", ctx_idx: node.pos, clerp: node.clerp };
  return {
    ...graph,
    nodes: [...graph.nodes, node],
    links,
    inputs: adjacency(links.target, ix + 1),
    outputs: adjacency(links.source, ix + 1),
    byId: new Map([...graph.byId, [node.id, ix]]),
    raw: { ...graph.raw, nodes: [...graph.raw.nodes, raw] },
    logitDiff: asked,
  };
}

/** The logit of a token: with its very text, else but for spaces around it. */
function logitOf(graph: Graph, text: string): GraphNode | null {
  const logits = graph.nodes.filter(({ kind }) => kind === "logit");
  const token = (node: GraphNode) => parseLogitLabel(node.clerp).token ?? node.clerp;
  return (
    logits.find((node) => token(node) === text) ??
    (text.trim() === "" ? undefined : logits.find((node) => token(node).trim() === text.trim())) ??
    null
  );
}
