// The ids in a view held against the nodes of a graph: older names are replaced, ids that no node has become sentences.
//
// Nothing is removed: a view may be meant for another graph of the same prompt. What the words of a view mean at all is read
// in `core/view.ts`.

import type { Graph, NodeId } from "./types";
import { isGroupOrNode, NOTHING, type ViewParts } from "./view";

/** The most ids that one sentence lists. */
const MOST_LISTED = 5;

export interface Resolved {
  readonly parts: ViewParts;
  /** A sentence for each part of the view that names what is not in the graph. */
  readonly problems: readonly string[];
}

/** A view's parts with the ids of this graph's nodes, and what could not be found. */
export function resolveIds(graph: Graph, parts: ViewParts): Resolved {
  const older = olderNames(graph, parts);
  const problems: string[] = [];
  const find = (ids: readonly NodeId[], where: string): NodeId[] => {
    const found = ids.map((id) => (graph.byId.has(id) ? [id] : older.get(id)));
    const unknown = ids.filter((_, i) => found[i] === undefined);
    if (unknown.length > 0) problems.push(`${where}: ${missing(unknown)}`);
    return [...new Set(found.flatMap((list, i) => list ?? [ids[i]]))];
  };
  const pinned = parts.pinned && find(parts.pinned, "pinnedIds");
  const supernodes = parts.supernodes?.map(({ label, members }) => ({
    label,
    members: find(members, `supernodes, group “${label}”`),
  }));
  const clicked = parts.clicked === undefined ? undefined : (older.get(parts.clicked)?.[0] ?? parts.clicked);
  const resolved = { ...parts, pinned, supernodes, clicked };
  if (clicked !== undefined && clicked !== NOTHING.clicked && !isGroupOrNode(graph, supernodes ?? [], clicked)) {
    problems.push(`clickedId: ${clicked} is no node and no group of this graph, so nothing is selected.`);
  }
  return { parts: resolved, problems };
}

/**
 * The nodes of every older name (`jsNodeId`) in a view. Such a name leaves out the position of a feature, so that several nodes
 * share it; old files pin by it. Empty where all ids are known.
 */
function olderNames(graph: Graph, parts: ViewParts): ReadonlyMap<string, readonly NodeId[]> {
  const asked = [
    ...(parts.pinned ?? []),
    ...(parts.supernodes ?? []).flatMap(({ members }) => members),
    ...(parts.clicked === undefined ? [] : [parts.clicked]),
  ];
  const wanted = new Set(asked.filter((id) => !graph.byId.has(id)));
  const older = new Map<string, NodeId[]>();
  if (wanted.size === 0) return older;
  for (const node of graph.nodes) {
    const name = graph.raw.nodes[node.ix]?.jsNodeId;
    if (typeof name !== "string" || !wanted.has(name)) continue;
    const nodes = older.get(name);
    if (nodes === undefined) older.set(name, [node.id]);
    else nodes.push(node.id);
  }
  return older;
}

function missing(ids: readonly NodeId[]): string {
  if (ids.length === 1) return `${ids[0]} is no node of this graph and is not shown.`;
  const shown = ids.slice(0, MOST_LISTED).join(", ");
  const more = ids.length > MOST_LISTED ? ` and ${ids.length - MOST_LISTED} more` : "";
  return `${shown}${more} are no nodes of this graph and are not shown.`;
}
