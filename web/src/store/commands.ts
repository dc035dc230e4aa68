// What a user can do to a view, as functions from a view to the next. A command that changes nothing gives the same view back.

import { meaningfulLabel, withLabel } from "../core/labels";
import { nodeKey, supernodeKey } from "../core/subgraph";
import type { Graph, LinkType, NodeId, NodeIx, Selection, Supernode, View } from "../core/types";

export const UNNAMED = "supernode";

export function sameSelection(a: Selection | null, b: Selection | null): boolean {
  if (a === null || b === null) return a === b;
  if ("node" in a) return "node" in b && a.node === b.node;
  return "supernode" in b && a.supernode === b.supernode;
}

/** Selects what exists; anything else clears. */
export function select(graph: Graph, view: View, selection: Selection | null): View {
  const exists =
    selection !== null &&
    ("node" in selection ? graph.byId.has(selection.node) : view.supernodes.some(({ key }) => key === selection.supernode));
  const next = exists ? selection : null;
  return sameSelection(view.selection, next) ? view : { ...view, selection: next };
}

/** Pins or unpins. A node that is unpinned leaves its supernode, and one node alone is no supernode. */
export function togglePin(view: View, id: NodeId): View {
  if (!view.pinned.includes(id)) return { ...view, pinned: [...view.pinned, id] };
  const pinned = view.pinned.filter((other) => other !== id);
  return tidy({ ...view, pinned, supernodes: without(view.supernodes, new Set([id])), positions: drop(view, [nodeKey(id)]) });
}

/** Takes everything out of the subgraph. */
export function clearPins(view: View): View {
  if (view.pinned.length === 0 && view.supernodes.length === 0) return view;
  return tidy({ ...view, pinned: [], supernodes: [], positions: new Map() });
}

/** Supernodes without some nodes; what is left with one member is dissolved. Untouched ones stay as they are. */
function without(supernodes: readonly Supernode[], gone: ReadonlySet<NodeId>): Supernode[] {
  const left: Supernode[] = [];
  for (const supernode of supernodes) {
    const members = supernode.members.filter((id) => !gone.has(id));
    if (members.length === supernode.members.length) left.push(supernode);
    else if (members.length > 1) left.push({ ...supernode, members });
  }
  return left;
}

/** Without the selection and the places of supernodes that are gone. */
function tidy(view: View): View {
  const keys = new Set(view.supernodes.map(({ key }) => key));
  const { selection } = view;
  const lost = selection !== null && "supernode" in selection && !keys.has(selection.supernode);
  const stale = [...view.positions.keys()].filter((key) => key.startsWith("s:") && !keys.has(key.slice(2)));
  return { ...view, selection: lost ? null : selection, positions: stale.length === 0 ? view.positions : drop(view, stale) };
}

function drop(view: View, keys: readonly string[]): View["positions"] {
  if (!keys.some((key) => view.positions.has(key))) return view.positions;
  const positions = new Map(view.positions);
  for (const key of keys) positions.delete(key);
  return positions;
}

export function setLinkType(view: View, linkType: LinkType): View {
  return view.linkType === linkType ? view : { ...view, linkType };
}

export function setPruning(view: View, threshold: number | null): View {
  const value = threshold === null || Number.isNaN(threshold) ? null : Math.min(1, Math.max(0, threshold));
  return view.pruningThreshold === value ? view : { ...view, pruningThreshold: value };
}

export function toggleHidden(view: View, id: NodeId): View {
  const hidden = new Set(view.hidden);
  if (!hidden.delete(id)) hidden.add(id);
  return { ...view, hidden };
}

export function setLabel(graph: Graph, view: View, ix: NodeIx, label: string): View {
  const labels = withLabel(graph, view.labels, ix, label);
  const same = labels.size === view.labels.size && [...labels].every(([key, value]) => view.labels.get(key) === value);
  return same ? view : { ...view, labels };
}

/**
 * Makes one supernode of what was picked. Picked supernodes are dissolved into it and give it their label; without one it
 * is called like its first member. Nodes picked elsewhere are pinned, and leave the supernode they were in.
 */
export function group(graph: Graph, view: View, picked: readonly Selection[]): View {
  const members: NodeId[] = [];
  const singles: NodeId[] = [];
  const dissolved: Supernode[] = [];
  let place: readonly [number, number] | undefined;
  for (const one of picked) {
    if ("node" in one) {
      if (!graph.byId.has(one.node)) continue;
      members.push(one.node);
      singles.push(one.node);
      place ??= view.positions.get(nodeKey(one.node));
    } else {
      const supernode = view.supernodes.find(({ key }) => key === one.supernode);
      if (supernode === undefined) continue;
      members.push(...supernode.members);
      dissolved.push(supernode);
      place ??= view.positions.get(supernodeKey(supernode.key));
    }
  }
  const distinct = [...new Set(members)];
  // A supernode alone, or with nodes that it has already, is there already.
  if (distinct.length < 2 || (dissolved.length === 1 && distinct.length === dissolved[0].members.length)) return view;

  const first = graph.byId.get(distinct[0]);
  const label = dissolved[0]?.label ?? (first === undefined ? null : meaningfulLabel(graph, view.labels, first)) ?? UNNAMED;
  const rest = without(
    view.supernodes.filter((supernode) => !dissolved.includes(supernode)),
    new Set(distinct),
  );
  const key = freshKey(view.supernodes);
  const positions = new Map(drop(view, distinct.map(nodeKey)));
  if (place !== undefined) positions.set(supernodeKey(key), place);
  const { selection } = view;
  const moved = selection !== null && "supernode" in selection && dissolved.some((one) => one.key === selection.supernode);
  return tidy({
    ...view,
    pinned: [...view.pinned, ...new Set(singles.filter((id) => !view.pinned.includes(id)))],
    supernodes: [...rest, { key, label, members: distinct }],
    positions,
    selection: moved ? { supernode: key } : selection,
  });
}

function freshKey(supernodes: readonly Supernode[]): string {
  return String(1 + Math.max(0, ...supernodes.map(({ key }) => Number(key) || 0)));
}

export function ungroup(view: View, key: string): View {
  const supernodes = view.supernodes.filter((supernode) => supernode.key !== key);
  return supernodes.length === view.supernodes.length ? view : tidy({ ...view, supernodes });
}

export function renameSupernode(view: View, key: string, label: string): View {
  const text = label.trim() || UNNAMED;
  if (!view.supernodes.some((supernode) => supernode.key === key && supernode.label !== text)) return view;
  return { ...view, supernodes: view.supernodes.map((one) => (one.key === key ? { ...one, label: text } : one)) };
}

export function moveItem(view: View, key: string, x: number, y: number): View {
  const at = view.positions.get(key);
  if (!Number.isFinite(x) || !Number.isFinite(y) || (at !== undefined && at[0] === x && at[1] === y)) return view;
  return { ...view, positions: new Map(view.positions).set(key, [x, y]) };
}

export function clearPositions(view: View): View {
  return view.positions.size === 0 ? view : { ...view, positions: new Map() };
}
