// The boxes of the subgraph and the weights between them. Where boxes stand is the panel's business, except for the
// order in which old files list places.

import type { Graph, Item, ItemEdge, NodeId, NodeIx, Supernode, View, Visible } from "./types";

/** More pins than this are kept in the view but get no box. */
export const MAX_PINS_SHOWN = 200;

export const nodeKey = (id: NodeId): string => `n:${id}`;
export const supernodeKey = (key: string): string => `s:${key}`;

/** The supernode of every node that is in one. A node that two supernodes list belongs to the first. */
export function supernodesByNode(graph: Graph, supernodes: readonly Supernode[]): ReadonlyMap<NodeIx, string> {
  const owner = new Map<NodeIx, string>();
  for (const supernode of supernodes) {
    for (const id of supernode.members) {
      const ix = graph.byId.get(id);
      if (ix !== undefined && !owner.has(ix)) owner.set(ix, supernode.key);
    }
  }
  return owner;
}

/** Loose pinned nodes in the order of pinning, then supernodes with a pinned member; members without a pin do not count. */
export function items(graph: Graph, view: Pick<View, "pinned" | "supernodes">, labels: readonly string[]): Item[] {
  const owner = supernodesByNode(graph, view.supernodes);
  const loose: Item[] = [];
  const pinned = new Set<NodeIx>();
  for (const id of view.pinned.slice(0, MAX_PINS_SHOWN)) {
    const ix = graph.byId.get(id);
    if (ix === undefined || pinned.has(ix)) continue;
    pinned.add(ix);
    if (!owner.has(ix)) loose.push({ key: nodeKey(id), label: labels[ix] ?? "", supernode: null, nodes: [ix] });
  }
  const grouped: Item[] = [];
  for (const supernode of view.supernodes) {
    const nodes: NodeIx[] = [];
    for (const id of supernode.members) {
      const ix = graph.byId.get(id);
      if (ix !== undefined && pinned.has(ix) && owner.get(ix) === supernode.key && !nodes.includes(ix)) nodes.push(ix);
    }
    if (nodes.length === 0) continue;
    grouped.push({ key: supernodeKey(supernode.key), label: supernode.label, supernode: supernode.key, nodes });
  }
  return [...loose, ...grouped];
}

/**
 * Weights between boxes, weakest first.
 *
 * What a member gets from outside its own box is shared out over the members by how much of each one's input comes from
 * outside: A→B sums w / ext(t) · share(t) over the links from A's nodes to B's nodes t.
 */
export function edges(graph: Graph, visible: Visible, boxes: readonly Item[]): ItemEdge[] {
  const { source, weight } = graph.links;
  const { start, link } = graph.inputs;
  const boxOf = new Int32Array(graph.nodes.length).fill(-1);
  for (let b = 0; b < boxes.length; b++) for (const ix of boxes[b].nodes) boxOf[ix] = b;

  const found: ItemEdge[] = [];
  const incoming = new Float64Array(boxes.length);
  for (let b = 0; b < boxes.length; b++) {
    const members = boxes[b].nodes;
    const outside = members.map((t) => {
      let sum = 0;
      for (let i = start[t]; i < start[t + 1]; i++) {
        const l = link[i];
        if (visible.link[l] === 1 && boxOf[source[l]] !== b) sum += Math.abs(weight[l]);
      }
      return sum;
    });
    const ratio = members.map((t, m) => (visible.inputSum[t] > 0 ? outside[m] / visible.inputSum[t] : 0));
    const total = ratio.reduce((sum, r) => sum + r, 0);
    if (total === 0) continue;

    incoming.fill(0);
    members.forEach((t, m) => {
      if (outside[m] === 0) return;
      const scale = ratio[m] / total / outside[m];
      for (let i = start[t]; i < start[t + 1]; i++) {
        const l = link[i];
        const from = boxOf[source[l]];
        if (visible.link[l] === 1 && from >= 0 && from !== b) incoming[from] += weight[l] * scale;
      }
    });
    for (let a = 0; a < boxes.length; a++) {
      if (incoming[a] !== 0) found.push({ source: a, target: b, weight: incoming[a] });
    }
  }
  return found.sort((x, y) => Math.abs(x.weight) - Math.abs(y.weight));
}

/**
 * The order in which `sg_pos` lists boxes, as indices: by the characters of the members' feature numbers, sorted. Odd, but
 * existing files depend on it; the order of members does not matter.
 */
export function placeOrder(graph: Graph, boxes: readonly Item[]): number[] {
  const keys = boxes.map((box) =>
    box.nodes
      .map((ix) => String(graph.nodes[ix].feature ?? ""))
      .join(" ")
      .split("")
      .sort()
      .join(","),
  );
  return boxes.map((_, b) => b).sort((a, b) => (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : 0));
}
