// What the live region says: a node and counts in words.

import type { Graph, NodeIx, NodeKind, Visible } from "../core/types";

const KINDS: Readonly<Record<NodeKind, string>> = {
  feature: "feature",
  error: "error",
  token: "token",
  logit: "logit",
  attention: "attention feature",
  bias: "bias",
  unknown: "node of unknown type",
};

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** Label, type, layer, position, how many inputs and outputs are shown, and whether it is pinned. */
export function sayNode(graph: Graph, shown: Visible, ix: NodeIx, labels: readonly string[], pinned: boolean): string {
  const node = graph.nodes[ix];
  const count = ({ start, link }: Graph["inputs"]) => {
    let n = 0;
    for (let i = start[ix]; i < start[ix + 1]; i++) n += shown.link[link[i]];
    return n;
  };
  const layer = node.kind === "token" || node.kind === "logit" ? "" : `, layer ${node.row}`;
  return (
    `${labels[ix]}, ${KINDS[node.kind]}${layer}, position ${node.pos}, ` +
    `${plural(count(graph.inputs), "input")}, ${plural(count(graph.outputs), "output")}${pinned ? ", pinned" : ""}.`
  );
}
