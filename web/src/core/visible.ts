// Which nodes and links are shown under a threshold, and which links the link graph draws. Pure functions over columns.

import type { Graph, LinkType, NodeIx, Visible } from "./types";

/** Tokens, logits and nodes without an influence are always shown. */
export function passes(graph: Graph, ix: NodeIx, threshold: number | null): boolean {
  if (threshold === null) return true;
  const node = graph.nodes[ix];
  return node.kind === "token" || node.kind === "logit" || node.influence === null || node.influence <= threshold;
}

/** What is shown; `kept` (the pinned and the clicked) stays whatever its influence. */
export function visible(graph: Graph, threshold: number | null, kept: Iterable<NodeIx>): Visible {
  const nNodes = graph.nodes.length;
  const { source, target, weight } = graph.links;
  const nLinks = weight.length;
  const node = new Uint8Array(nNodes);
  let shown = 0;
  for (let n = 0; n < nNodes; n++) {
    if (passes(graph, n, threshold)) {
      node[n] = 1;
      shown += 1;
    }
  }
  for (const n of kept) {
    if (node[n] === 0) {
      node[n] = 1;
      shown += 1;
    }
  }

  const link = new Uint8Array(nLinks);
  const inputSum = new Float64Array(nNodes);
  const pctInput = new Float64Array(nLinks);
  let shownLinks = 0;
  for (let l = 0; l < nLinks; l++) {
    if (node[source[l]] === 1 && node[target[l]] === 1) {
      link[l] = 1;
      shownLinks += 1;
      inputSum[target[l]] += Math.abs(weight[l]);
    }
  }
  for (let l = 0; l < nLinks; l++) {
    const sum = inputSum[target[l]];
    if (link[l] === 1 && sum > 0) pctInput[l] = weight[l] / sum;
  }
  return { node, nNodes: shown, link, nLinks: shownLinks, inputSum, pctInput };
}

/**
 * The links to draw, strongest last. With a selection: everything in and out of it. Without: the links of pinned nodes,
 * into them, out of them, either, or only those with both ends pinned.
 */
export function drawnLinks(
  graph: Graph,
  shown: Visible,
  selected: readonly NodeIx[],
  pinned: ReadonlySet<NodeIx>,
  linkType: LinkType,
): Uint32Array {
  const { source, target } = graph.links;
  const { inputs, outputs } = graph;
  const found: number[] = [];
  if (selected.length > 0) {
    const inside = new Set(selected);
    for (const n of inside) {
      for (let i = inputs.start[n]; i < inputs.start[n + 1]; i++) {
        const l = inputs.link[i];
        if (shown.link[l] === 1) found.push(l);
      }
      for (let i = outputs.start[n]; i < outputs.start[n + 1]; i++) {
        const l = outputs.link[i];
        // A link between two selected nodes has been met as an input.
        if (shown.link[l] === 1 && !inside.has(target[l])) found.push(l);
      }
    }
  } else {
    for (const n of pinned) {
      if (linkType !== "output") {
        for (let i = inputs.start[n]; i < inputs.start[n + 1]; i++) {
          const l = inputs.link[i];
          if (shown.link[l] === 1 && (linkType !== "both" || pinned.has(source[l]))) found.push(l);
        }
      }
      if (linkType === "output" || linkType === "either") {
        for (let i = outputs.start[n]; i < outputs.start[n + 1]; i++) {
          const l = outputs.link[i];
          if (shown.link[l] === 1 && (linkType === "output" || !pinned.has(target[l]))) found.push(l);
        }
      }
    }
  }
  return Uint32Array.from(found).sort((a, b) => Math.abs(shown.pctInput[a]) - Math.abs(shown.pctInput[b]));
}
