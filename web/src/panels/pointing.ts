// What pointing at a node in a list does: the same as in the link graph. One place, so that every list agrees.

import type { Graph, NodeIx } from "../core/types";
import type { Store } from "../store/store";

export function currentGraph(store: Store): Graph | null {
  const load = store.graph.value;
  return load.state === "ready" ? load.value : null;
}

/** The node that keys such as P and H mean: the hovered one, else the selected one. */
export function currentNode(store: Store): NodeIx | null {
  return store.hover.value ?? store.selectedNode.value;
}

/** A click: select or deselect; with Ctrl or Cmd pin or unpin; in grouping mode pick. */
export function activate(store: Store, node: NodeIx, event: { ctrlKey: boolean; metaKey: boolean }): void {
  const graph = currentGraph(store);
  if (graph === null) return;
  const id = graph.nodes[node]!.id;
  if (event.ctrlKey || event.metaKey) store.togglePin(id);
  else if (store.grouping.value.on) store.pick({ node: id });
  else if (store.selectedNode.value === node) store.select(null);
  else store.select({ node: id });
}

/** Shift keeps what is hovered, so that the pointer can travel to another panel. */
export function hover(store: Store, node: NodeIx | null): void {
  if (!store.hold.value) store.setHover(node);
}
