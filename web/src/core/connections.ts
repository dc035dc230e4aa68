// The lines of node connections: what goes into and out of a node, or of a supernode as a whole. Sorted only when asked for.

import type { Connection, Connections, Graph, NodeIx, Visible } from "./types";

/**
 * Inputs and outputs of `members`, which for a single node is one. Links among the members are left out, links of several
 * members to the same node are summed.
 */
export function connections(graph: Graph, shown: Visible, members: readonly NodeIx[]): Connections {
  const { source, target, weight } = graph.links;
  const { inputs, outputs } = graph;
  const inside = new Set(members);

  const from = new Map<NodeIx, number>();
  const to = new Map<NodeIx, number>();
  let incoming = 0;
  for (const n of inside) {
    for (let i = inputs.start[n]; i < inputs.start[n + 1]; i++) {
      const l = inputs.link[i];
      const other = source[l];
      if (shown.link[l] === 0 || inside.has(other)) continue;
      incoming += Math.abs(weight[l]);
      from.set(other, (from.get(other) ?? 0) + weight[l]);
    }
    for (let i = outputs.start[n]; i < outputs.start[n + 1]; i++) {
      const l = outputs.link[i];
      const other = target[l];
      if (shown.link[l] === 0 || inside.has(other)) continue;
      to.set(other, (to.get(other) ?? 0) + weight[l]);
    }
  }
  const inputLines: Connection[] = [];
  for (const [node, w] of from) inputLines.push({ node, weight: w, pctInput: incoming > 0 ? w / incoming : 0 });
  const outputLines: Connection[] = [];
  for (const [node, w] of to) {
    const sum = shown.inputSum[node];
    outputLines.push({ node, weight: w, pctInput: sum > 0 ? w / sum : 0 });
  }
  return { inputs: inputLines.sort(byShare), outputs: outputLines.sort(byShare) };
}

/** Positive ones first, the largest share on top. */
function byShare(a: Connection, b: Connection): number {
  return b.pctInput - a.pctInput || a.node - b.node;
}
