// Tables as CSV for spreadsheets and scripts: RFC 4180, and text that a spreadsheet would run as a formula is disarmed.
//
// What is in the table is what the panels show; nothing here reads the DOM.

import type { Connection, Graph } from "../core/types";
import { kindName, nodeName, rowName } from "../panels/text";
import type { Store } from "../store/store";

export type Cell = string | number | boolean | null;

/**
 * One value. Text that begins like a formula gets an apostrophe in front, which spreadsheets read as "text follows"; numbers
 * stay numbers, so a negative weight is left alone.
 */
export function csvCell(value: Cell): string {
  if (value === null) return "";
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
  if (typeof value === "boolean") return value ? "true" : "false";
  const safe = /^\s*[=+\-@]|^[\t\r\n]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) || safe !== safe.trim() ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Lines end as the RFC wants, the last one too. */
export function toCsv(header: readonly string[], rows: Iterable<readonly Cell[]>): string {
  let out = `${header.map(csvCell).join(",")}\r\n`;
  for (const row of rows) out += `${row.map(csvCell).join(",")}\r\n`;
  return out;
}

const NODE_HEADER = ["node_id", "kind", "row", "position", "token", "index", "label", "influence", "activation", "probability"];

function nodeCells(graph: Graph, ix: number, label: string): Cell[] {
  const node = graph.nodes[ix];
  return [
    node.id,
    kindName(node.kind),
    rowName(graph, node.row),
    node.pos,
    graph.tokens[node.pos] ?? "",
    node.index,
    nodeName(graph, ix, label),
    node.influence,
    node.activation,
    node.kind === "logit" ? node.tokenProb : null,
  ];
}

function opened(store: Store): Graph | null {
  const load = store.graph.peek();
  return load.state === "ready" ? load.value : null;
}

/** All shown nodes, in the file's order. */
export function nodesCsv(store: Store): string {
  const graph = opened(store);
  const visible = store.visible.peek();
  const labels = store.labels.peek();
  const pinned = store.pinnedSet.peek();
  const rows: Cell[][] = [];
  for (const node of graph?.nodes ?? []) {
    if (visible !== null && !visible.node[node.ix]) continue;
    rows.push([...nodeCells(graph as Graph, node.ix, labels[node.ix] ?? ""), pinned.has(node.ix)]);
  }
  return toCsv([...NODE_HEADER, "pinned"], rows);
}

/** Inputs and outputs of the selection, in one table. */
export function connectionsCsv(store: Store): string {
  const graph = opened(store);
  const connections = store.connections.peek();
  const labels = store.labels.peek();
  const rows: Cell[][] = [];
  const add = (direction: string, list: readonly Connection[]) => {
    for (const { node, weight, pctInput } of list) {
      rows.push([direction, weight, pctInput, ...nodeCells(graph as Graph, node, labels[node] ?? "")]);
    }
  };
  if (graph !== null && connections !== null) {
    add("input", connections.inputs);
    add("output", connections.outputs);
  }
  return toCsv(["direction", "weight", "share_of_input", ...NODE_HEADER], rows);
}

export { saveBlob, saveText } from "./save";
