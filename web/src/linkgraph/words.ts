// A node of the link graph as a sentence, for screen readers.

import { displayToken } from "../core/tokens";
import type { Graph, NodeIx } from "../core/types";
import { kindName, nodeName, plural, rowName } from "../panels/text";
import type { Store } from "../store/store";

/** A node in words: label, kind, place, number of links, state. */
export function inWords(store: Store, graph: Graph, ix: NodeIx): string {
  const node = graph.nodes[ix];
  const visible = store.visible.value;
  const links = ({ start, link }: Graph["inputs"]) => {
    let n = 0;
    for (let i = start[ix]; i < start[ix + 1]; i++) if (visible?.link[link[i]]) n++;
    return n;
  };
  const parts = [
    displayToken(nodeName(graph, ix, store.labels.value[ix] ?? "")),
    kindName(node.kind),
    node.row >= 0 && node.row < graph.logitRow ? `layer ${node.row}` : rowName(graph, node.row),
    `position ${node.pos}, “${displayToken(graph.tokens[node.pos] ?? "")}”`,
    plural(links(graph.inputs), "input"),
    plural(links(graph.outputs), "output"),
  ];
  if (store.pinnedSet.value.has(ix)) parts.push("pinned");
  if (store.view.value.hidden.has(node.id)) parts.push("hidden");
  return parts.join(", ");
}
