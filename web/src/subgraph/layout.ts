// Places for boxes: layered by dagre, fitted into the panel, and kept apart. Pure, so that it can run in a worker and in tests.
//
// Places leave here as shares of the panel's width and height, y downward.

import { Graph, layout } from "@dagrejs/dagre";

export interface LayoutBox {
  readonly width: number;
  readonly height: number;
  /** Row in the link graph and token position, for boxes without edges. */
  readonly row: number;
  readonly pos: number;
}

export interface LayoutEdge {
  readonly source: number;
  readonly target: number;
  readonly weight: number;
}

export interface LayoutInput {
  readonly boxes: readonly LayoutBox[];
  readonly edges: readonly LayoutEdge[];
  /** Of the panel. */
  readonly width: number;
  readonly height: number;
}

export interface Layout {
  readonly places: readonly (readonly [number, number])[];
  /** How many times larger than the panel the layout wants to be, at least 1. */
  readonly span: number;
}

export const BOX_WIDTH = 75;
export const BOX_HEIGHT = 25;
const GAP = 20;
/** Weaker edges do not decide where boxes stand. */
export const WEAKEST = 0.003;
const WEIGHT_STEPS = 1_000;
const MOST_FOLDS = 5;
const PAD_X = 52;
const PAD_TOP = 24;
const PAD_BOTTOM = 44;
/** Layouts smaller than the panel are spread out, but not further than this. */
const SPREAD_X = 1.5;
const SPREAD_Y = 2.4;

/** More edges than this per box do not make a better layout, only a slower one. */
const PER_BOX = 3;

/** Edges that decide: strong enough, and of many only the strongest into and out of each box. */
export function deciding(edges: readonly LayoutEdge[], nBoxes: number): LayoutEdge[] {
  const strong = edges
    .filter(({ source, target, weight }) => Math.abs(weight) >= WEAKEST && source !== target)
    .sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  if (strong.length <= PER_BOX * nBoxes) return strong;
  const into = new Uint32Array(nBoxes);
  const out = new Uint32Array(nBoxes);
  return strong.filter(({ source, target }) => {
    const kept = into[target] < PER_BOX || out[source] < 1;
    if (kept) {
      into[target]++;
      out[source]++;
    }
    return kept;
  });
}

/** Bottom to top in pixels; boxes without an edge are left out (null). */
export function layered(boxes: readonly LayoutBox[], edges: readonly LayoutEdge[]): ([number, number] | null)[] {
  const graph = new Graph();
  graph.setGraph({ rankdir: "BT", nodesep: GAP, ranksep: GAP, edgesep: 4 });
  graph.setDefaultEdgeLabel(() => ({}));
  const used = new Set<number>();
  // Strongest first: dagre breaks cycles and ties by the order it meets edges in.
  for (const { source, target, weight } of deciding(edges, boxes.length)) {
    for (const box of [source, target]) {
      if (used.has(box)) continue;
      used.add(box);
      graph.setNode(String(box), { width: boxes[box].width, height: boxes[box].height });
    }
    // Whole numbers: with fractions its network simplex loses its way in rounding errors, and throws.
    graph.setEdge(String(source), String(target), { weight: Math.max(1, Math.round(Math.abs(weight) * WEIGHT_STEPS)) });
  }
  if (used.size > 0) layout(graph);
  return boxes.map((_, box) => {
    if (!used.has(box)) return null;
    const { x, y } = graph.node(String(box)) as { x: number; y: number };
    return [x, y];
  });
}

/** Boxes without edges go to the height of their row, right of the rest or by position. */
function withLoose(boxes: readonly LayoutBox[], found: readonly ([number, number] | null)[]): [number, number][] {
  const placed = boxes.flatMap((box, i) => (found[i] === null ? [] : [{ row: box.row, pos: box.pos, at: found[i] }]));
  const rows = [...new Set(boxes.map(({ row }) => row))].sort((a, b) => a - b);
  const pitch = BOX_HEIGHT + 2 * GAP;
  const right = placed.length > 0 ? Math.max(...placed.map(({ at }) => at[0])) + BOX_WIDTH + GAP : 0;
  const perHeight = new Map<number, number>();
  const order = boxes.map((_, i) => i).sort((a, b) => boxes[a].pos - boxes[b].pos || a - b);
  const out: [number, number][] = boxes.map((_, i) => found[i] ?? [0, 0]);
  for (const i of order) {
    if (found[i] !== null) continue;
    const { row } = boxes[i];
    // As high as the box of the nearest row, where there is one.
    const nearest = placed.toSorted((a, b) => Math.abs(a.row - row) - Math.abs(b.row - row))[0];
    const y = nearest === undefined ? -rows.indexOf(row) * pitch : nearest.at[1];
    const n = perHeight.get(Math.round(y)) ?? 0;
    perHeight.set(Math.round(y), n + 1);
    out[i] = [right + n * (BOX_WIDTH + GAP), y];
  }
  return out;
}

/** Pushes boxes off each other; `fixed` ones stay. */
export function separate(
  places: readonly (readonly [number, number])[],
  boxes: readonly { readonly width: number; readonly height: number }[],
  fixed: (box: number) => boolean,
  gap = 8,
): [number, number][] {
  const out = places.map(([x, y]): [number, number] => [x, y]);
  for (let round = 0; round < 60; round++) {
    let moved = false;
    for (let a = 0; a < out.length; a++) {
      for (let b = a + 1; b < out.length; b++) {
        if (fixed(a) && fixed(b)) continue;
        const dx = out[b][0] - out[a][0];
        const dy = out[b][1] - out[a][1];
        const overX = (boxes[a].width + boxes[b].width) / 2 + gap - Math.abs(dx);
        const overY = (boxes[a].height + boxes[b].height) / 2 + gap - Math.abs(dy);
        if (overX <= 0.01 || overY <= 0.01) continue;
        moved = true;
        // Along the axis with less to go; equal places part by their order.
        const axis = overX < overY ? 0 : 1;
        const sign = (axis === 0 ? dx : dy) < 0 ? -1 : 1;
        const push = axis === 0 ? overX : overY;
        const share = fixed(a) ? 0 : fixed(b) ? 1 : 0.5;
        out[a][axis] -= sign * push * share;
        out[b][axis] += sign * push * (1 - share);
      }
    }
    if (!moved) break;
  }
  return out;
}

/** By row and position alone, for the moment until the layered layout is there, and where it is not wanted. */
export function byRow({ boxes, width, height }: LayoutInput): Layout {
  if (boxes.length === 0) return { places: [], span: 1 };
  const rows = [...new Set(boxes.map(({ row }) => row))].sort((a, b) => a - b);
  const last = Math.max(1, ...boxes.map(({ pos }) => pos));
  const raw = boxes.map(({ row, pos }) => [(pos / last) * width, -rows.indexOf(row) * (BOX_HEIGHT + 2 * GAP)] as const);
  const apart = separate(raw, boxes, () => false, GAP);
  return fitted(apart, width, height);
}

export function layOutBoxes({ boxes, edges, width, height }: LayoutInput): Layout {
  if (boxes.length === 0) return { places: [], span: 1 };
  const raw = withLoose(boxes, layered(boxes, edges));
  return fitted(staggered(raw, width / height), width, height);
}

/**
 * Many boxes in few ranks make a layout far wider than a panel: its ranks are folded into several rows each, so that it comes
 * near to the panel's shape. Neighbours in a rank go to different rows and stay in order.
 */
export function staggered(raw: readonly (readonly [number, number])[], aspect: number): [number, number][] {
  const out = raw.map(([x, y]): [number, number] => [x, y]);
  const ys = raw.map(([, y]) => y);
  const pitch = BOX_HEIGHT + GAP;
  const spanX = Math.max(...raw.map(([x]) => x)) - Math.min(...raw.map(([x]) => x)) + BOX_WIDTH;
  const spanY = Math.max(...ys) - Math.min(...ys) + pitch;
  // Half as wide again as the panel is still read at a glance.
  const fold = Math.min(MOST_FOLDS, Math.round(Math.sqrt(spanX / spanY / (1.5 * aspect))));
  if (fold < 2) return out;
  const ranks = new Map<number, number[]>();
  for (let i = 0; i < raw.length; i++) {
    const key = Math.round(ys[i]);
    const rank = ranks.get(key);
    if (rank === undefined) ranks.set(key, [i]);
    else rank.push(i);
  }
  for (const rank of ranks.values()) {
    rank.sort((a, b) => raw[a][0] - raw[b][0]);
    rank.forEach((box, n) => {
      out[box] = [raw[box][0] / fold, raw[box][1] * fold - (n % fold) * pitch];
    });
  }
  return out;
}

/** Pixels of any origin and extent as shares of the panel, or of a ground `span` times as large. */
export function fitted(raw: readonly (readonly [number, number])[], width: number, height: number): Layout {
  const xs = raw.map(([x]) => x);
  const ys = raw.map(([, y]) => y);
  const left = Math.min(...xs);
  const top = Math.min(...ys);
  const spanX = Math.max(...xs) - left;
  const spanY = Math.max(...ys) - top;
  const span = Math.max(1, (spanX + 2 * PAD_X) / width, (spanY + PAD_TOP + PAD_BOTTOM) / height);
  const roomX = width * span - 2 * PAD_X;
  const roomY = height * span - PAD_TOP - PAD_BOTTOM;
  const scaleX = spanX > 0 ? Math.min(SPREAD_X, roomX / spanX) : 0;
  const scaleY = spanY > 0 ? Math.min(SPREAD_Y, roomY / spanY) : 0;
  const startX = PAD_X + (roomX - spanX * scaleX) / 2;
  const startY = PAD_TOP + (roomY - spanY * scaleY) / 2;
  return {
    span,
    places: raw.map(([x, y]) => [
      (startX + (x - left) * scaleX) / (width * span),
      (startY + (y - top) * scaleY) / (height * span),
    ]),
  };
}
