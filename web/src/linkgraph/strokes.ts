// Draws chosen links on a 2D canvas: highlighted ones, and all of them where there is no WebGL.
//
// Links come weakest first and are gathered by sign and level, so that thousands of them cost a few dozen strokes; the strongest
// end on top.

import { FULL, LEVELS, type LinkScale, level, linkWidth } from "./colours";
import type { Geometry } from "./geometry";

export interface StrokeLinks {
  readonly source: Uint32Array;
  readonly target: Uint32Array;
}

export interface StrokeStyle {
  readonly scale: LinkScale;
  /** Colour of a wider line beneath, or null. */
  readonly underlay: string | null;
  readonly dashNegative: boolean;
  readonly alpha: number;
}

/** Links per path: one path of thousands of crossing lines is slower to fill than several. */
const PER_PATH = 256;
const THINNEST = 0.6;

/** Links of equal sign and level, levels from weak to strong; at 2 × level for positive, one more for negative. */
export function gather(order: Uint32Array, share: Float64Array): Uint32Array[] {
  const counts = new Uint32Array(2 * LEVELS);
  for (const link of order) counts[2 * level(share[link]) + (share[link] < 0 ? 1 : 0)]++;
  const out = Array.from(counts, (n) => new Uint32Array(n));
  counts.fill(0);
  for (const link of order) {
    const bucket = 2 * level(share[link]) + (share[link] < 0 ? 1 : 0);
    out[bucket][counts[bucket]++] = link;
  }
  return out;
}

/** Strokes the links of `order`; the context is already moved to the plot's origin. */
export function strokeLinks(
  context: CanvasRenderingContext2D,
  geometry: Geometry,
  links: StrokeLinks,
  order: Uint32Array,
  share: Float64Array,
  style: StrokeStyle,
): void {
  const { x, y } = geometry;
  const buckets = gather(order, share);
  context.save();
  context.lineCap = "round";
  for (let bucket = 0; bucket < buckets.length; bucket++) {
    const members = buckets[bucket];
    const at = bucket >> 1;
    const negative = (bucket & 1) === 1;
    const colour = (negative ? style.scale.negativeColours : style.scale.positiveColours)[at];
    // The last level is open above: its few links have each a width of their own.
    const perPath = at === LEVELS - 1 ? 1 : PER_PATH;
    for (let start = 0; start < members.length; start += perPath) {
      const end = Math.min(members.length, start + perPath);
      const path = new Path2D();
      for (let i = start; i < end; i++) {
        const source = links.source[members[i]];
        const target = links.target[members[i]];
        if (Number.isNaN(x[source]) || Number.isNaN(x[target])) continue;
        path.moveTo(x[source], y[source]);
        path.lineTo(x[target], y[target]);
      }
      const size = perPath === 1 ? share[members[start]] : (FULL * (at + 0.5)) / LEVELS;
      const width = Math.max(THINNEST, linkWidth(size));
      context.setLineDash(style.dashNegative && negative ? [4 + width, 3 + width] : []);
      if (style.underlay !== null && width > 0.9) {
        context.globalAlpha = style.alpha * 0.55;
        context.strokeStyle = style.underlay;
        context.lineWidth = width + 1;
        context.stroke(path);
      }
      context.globalAlpha = style.alpha;
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.stroke(path);
    }
  }
  context.restore();
}
