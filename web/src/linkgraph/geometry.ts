// Where everything of the link graph lies: columns per token position, rows per layer, a place for each shown node.
//
// Pure numbers in pixels of the plot; nothing here draws and nothing knows the scroll position. Zoom changes the plot's size, not
// the scale of its marks.

import type { GraphNode } from "../core/types";

export interface GeometryInput {
  readonly nodes: readonly GraphNode[];
  /** 1 where a node is shown. */
  readonly shown: Uint8Array;
  readonly nPositions: number;
  /** Row of the logits; rows run from -1 (tokens) to this. */
  readonly logitRow: number;
  /** The window on the plot. */
  readonly width: number;
  readonly height: number;
  /** 1: as wide as the window, or as wide as it must be to be read. */
  readonly zoom: number;
}

export interface Geometry {
  readonly width: number;
  readonly height: number;
  /** First position that has a shown node; columns before it have no width. */
  readonly first: number;
  /** Left edges of the columns, and the right edge of the last. */
  readonly columns: Float64Array;
  readonly rowHeight: number;
  readonly logitRow: number;
  /** Per node; NaN where it is not shown. */
  readonly x: Float32Array;
  readonly y: Float32Array;
  /** Half the size of a glyph. */
  readonly radius: number;
  /** The zoom at which all of it fits the window; 1 where that is so anyway. */
  readonly fit: number;
}

/** Narrower columns would let the slanted token texts run into each other. */
const MIN_COLUMN = 18;
/** Least distance of neighbours in a cell before a plot scrolls. */
const MIN_SPACING = 5;
/** Neighbours lie this far apart where there is room. */
const SPACING = 20;
const MIN_ROW = 9;
const MAX_RADIUS = 4.75;

/** Middle of a row, from the top of the plot. */
export function rowY(geometry: { readonly height: number; readonly rowHeight: number }, row: number): number {
  return geometry.height - (row + 1.5) * geometry.rowHeight;
}

/** The column a horizontal place lies in; the nearest one outside the plot. */
export function columnAt(geometry: Geometry, x: number): number {
  const { columns } = geometry;
  let low = geometry.first;
  let high = columns.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (columns[middle] <= x) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * Widths in proportion to `weights`, none below `floor`, of `width` in all; wider where the floors alone need more.
 * A weight of 0 gets no width.
 */
export function shareWidth(weights: ArrayLike<number>, width: number, floor: number): Float64Array {
  const out = new Float64Array(weights.length);
  const onFloor = new Uint8Array(weights.length);
  for (;;) {
    let left = width;
    let sum = 0;
    for (let i = 0; i < weights.length; i++) {
      if (onFloor[i]) left -= floor;
      else sum += weights[i];
    }
    const unit = sum > 0 ? Math.max(0, left) / sum : 0;
    let settled = true;
    for (let i = 0; i < weights.length; i++) {
      if (onFloor[i] || weights[i] === 0) continue;
      out[i] = weights[i] * unit;
      if (out[i] < floor) {
        out[i] = floor;
        onFloor[i] = 1;
        settled = false;
      }
    }
    if (settled) return out;
  }
}

/** Order within a cell, from the right edge on: likely logits and influential nodes first, else as in the file. */
function before(a: GraphNode, b: GraphNode): number {
  if (a.kind === "logit" || b.kind === "logit") return b.tokenProb - a.tokenProb || a.ix - b.ix;
  return (a.influence ?? 2) - (b.influence ?? 2) || a.ix - b.ix;
}

export function layOut(input: GeometryInput): Geometry {
  const { nodes, shown, logitRow } = input;
  const nRows = logitRow + 2;

  let nPositions = Math.max(1, input.nPositions);
  let first = Number.POSITIVE_INFINITY;
  for (const node of nodes) {
    if (!shown[node.ix]) continue;
    nPositions = Math.max(nPositions, node.pos + 1);
    first = Math.min(first, node.pos);
  }
  if (first === Number.POSITIVE_INFINITY) first = 0;

  // By position and row; a map, since positions and rows of a damaged file may be very many and nearly all empty.
  const cells = new Map<number, GraphNode[]>();
  for (const node of nodes) {
    if (!shown[node.ix]) continue;
    const key = node.pos * nRows + node.row + 1;
    const cell = cells.get(key);
    if (cell === undefined) cells.set(key, [node]);
    else cell.push(node);
  }

  const weights = new Float64Array(nPositions).fill(1, first);
  for (const cell of cells.values()) weights[cell[0].pos] = Math.max(weights[cell[0].pos], cell.length);

  let need = 0;
  for (const weight of weights) if (weight > 0) need += Math.max(MIN_COLUMN, weight * MIN_SPACING);
  const wanted = Math.max(input.width, need) * input.zoom;
  // Zoomed out, everything may shrink to the window but not below it.
  const widths = shareWidth(weights, Math.max(input.width, wanted), input.zoom < 1 ? 2 : MIN_COLUMN);
  const columns = new Float64Array(nPositions + 1);
  for (let pos = 0; pos < nPositions; pos++) columns[pos + 1] = columns[pos] + widths[pos];
  const width = columns[nPositions];

  const height = Math.max(input.height, Math.max(input.height, MIN_ROW * nRows) * input.zoom);
  const rowHeight = height / nRows;

  let tightest = Number.POSITIVE_INFINITY;
  for (const cell of cells.values()) tightest = Math.min(tightest, widths[cell[0].pos] / cell.length);
  if (tightest === Number.POSITIVE_INFINITY) tightest = SPACING;

  const x = new Float32Array(nodes.length).fill(Number.NaN);
  const y = new Float32Array(nodes.length).fill(Number.NaN);
  const spacing = Math.max(SPACING, tightest);
  for (const cell of cells.values()) {
    const { pos, row } = cell[0];
    cell.sort(before);
    const step = Math.min(widths[pos] / cell.length, spacing);
    for (let i = 0; i < cell.length; i++) {
      x[cell[i].ix] = columns[pos + 1] - step * (i + 0.5);
      y[cell[i].ix] = height - (row + 1.5) * rowHeight;
    }
  }

  const grown = MAX_RADIUS * Math.min(1.6, Math.max(1, input.zoom) ** 0.35);
  const radius = Math.max(2, Math.min(grown, rowHeight * 0.4, Math.max(2.75, tightest * 0.6)));
  const fit = Math.min(1, input.width / Math.max(input.width, need), input.height / Math.max(input.height, MIN_ROW * nRows));
  return { width, height, first, columns, rowHeight, logitRow, x, y, radius, fit };
}

/** What a row is called. */
export function rowName(row: number, logitRow: number): string {
  if (row < 0) return "Emb";
  return row === logitRow ? "Logits" : `L${row}`;
}

/** Rows whose labels fit at `gap` pixels each: tokens and logits always, layers at even steps. */
export function labelledRows(logitRow: number, rowHeight: number, gap: number): number[] {
  const step = Math.max(1, Math.ceil(gap / rowHeight));
  const rows = [-1];
  // The ends have labels of their own, so a layer too near to one of them stays without.
  for (let row = 0; row < logitRow; row += step) {
    if ((row + 1) * rowHeight >= gap && (logitRow - row) * rowHeight >= gap) rows.push(row);
  }
  if (logitRow > -1) rows.push(logitRow);
  return rows;
}

/** Of texts anchored at `xs`, those that keep `gap` pixels from each other, preferring earlier ones in `order`. */
export function spacedOut(xs: ArrayLike<number>, order: readonly number[], gap: number): number[] {
  const kept: number[] = [];
  for (const i of order) {
    if (kept.every((other) => Math.abs(xs[other] - xs[i]) >= gap)) kept.push(i);
  }
  return kept;
}
