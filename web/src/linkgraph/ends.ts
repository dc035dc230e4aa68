// What the selection is linked with: the share of the strongest link of each node at the other end.

import type { Connections, NodeIx } from "../core/types";

export function endsOf(connections: Connections | null): ReadonlyMap<NodeIx, number> {
  const ends = new Map<NodeIx, number>();
  if (connections === null) return ends;
  for (const list of [connections.inputs, connections.outputs]) {
    for (const { node, pctInput } of list) {
      const known = ends.get(node);
      if (known === undefined || Math.abs(known) < Math.abs(pctInput)) ends.set(node, pctInput);
    }
  }
  return ends;
}
