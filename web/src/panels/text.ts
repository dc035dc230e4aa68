// Words and numbers of the panels: how a node, its place, a weight and a share are written. No markup, no state.

import type { Graph, GraphNode, NodeIx, NodeKind, Supernode } from "../core/types";

const KIND_NAMES: Record<NodeKind, string> = {
  feature: "feature",
  error: "reconstruction error",
  token: "token",
  logit: "output",
  attention: "attention feature",
  bias: "bias",
  unknown: "node of unknown type",
};

export function kindName(kind: NodeKind): string {
  return KIND_NAMES[kind];
}

/** Row of a node as the axis has it: Emb, L12, Logit. */
export function rowName(graph: Graph, row: number): string {
  if (row < 0) return "Emb";
  if (row >= graph.logitRow) return "Logit";
  return `L${row}`;
}

/** `F#00000043` for what has a feature number, the id for the rest. */
export function nodeNumber(node: GraphNode): string {
  const hasPage = node.kind === "feature" || node.kind === "attention";
  if (!hasPage || node.feature === null || node.feature < 0) return node.id;
  return `F#${String(node.feature).padStart(8, "0")}`;
}

/** The label as lists show it: with the supernode in front. */
export function fullLabel(
  node: NodeIx,
  labels: readonly string[],
  supernodeOf: ReadonlyMap<NodeIx, string>,
  supernodes: readonly Supernode[],
): string {
  const label = labels[node] ?? "";
  const key = supernodeOf.get(node);
  if (key === undefined) return label;
  const group = supernodes.find((supernode) => supernode.key === key);
  return group === undefined ? label : `[${group.label}] ${label}`;
}

/** What a node is called where it must be called something: its label, else what and where it is. */
export function nodeName(graph: Graph, node: NodeIx, label: string): string {
  if (label.trim() !== "") return label;
  const { kind, row, index } = graph.nodes[node]!;
  const place = rowName(graph, row);
  return index === null ? `${kindName(kind)} ${place}` : `${place}/${index}`;
}

export function signed(value: number, digits = 3): string {
  if (!Number.isFinite(value)) return "–";
  const text = Math.abs(value).toFixed(digits);
  return value < 0 ? `−${text}` : `+${text}`;
}

export function percent(share: number, digits = 1): string {
  if (!Number.isFinite(share)) return "–";
  const text = (Math.abs(share) * 100).toFixed(digits);
  // What rounds to nothing has no sign.
  return `${share < 0 && Number(text) !== 0 ? "−" : ""}${text} %`;
}

const COUNT = new Intl.NumberFormat("en-GB", { useGrouping: true });

/** 10 431, with a thin space, so that it cannot be read as a decimal. */
export function count(value: number): string {
  return COUNT.format(value).replaceAll(",", "\u202f");
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** A message of the server as a sentence. */
export function sentence(message: string): string {
  const text = message.trim();
  if (text === "") return text;
  const first = text.charAt(0).toLocaleUpperCase();
  return `${first}${text.slice(1)}${/[.!?…:]$/.test(text) ? "" : "."}`;
}

/** 1st, 2nd, 3rd, 97th. */
export function ordinal(value: number): string {
  const tens = value % 100;
  if (tens >= 11 && tens <= 13) return `${value}th`;
  return `${value}${["th", "st", "nd", "rd"][value % 10] ?? "th"}`;
}
