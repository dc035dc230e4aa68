// Where edges meet the boxes: spread along the side that faces the other box, in the order of their angles, so that none cross there.
//
// Pure geometry in pixels; y grows downward.

export interface FanBox {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface FanEdge {
  readonly source: number;
  readonly target: number;
  /** Thickness of the line. */
  readonly width: number;
}

export interface Line {
  x1: number;
  y1: number;
  x2: number;
  y2: number;
}

type Side = "top" | "bottom" | "left" | "right";

interface End {
  readonly edge: number;
  readonly atSource: boolean;
  readonly angle: number;
  readonly width: number;
}

/** Ends stay this far from the corners. */
const CORNER = 6;
const GAP = 1;
const THINNEST = 1.5;

function facing(box: FanBox, other: FanBox): Side {
  const dx = other.x - box.x;
  const dy = other.y - box.y;
  // Above or below, unless the boxes stand beside each other.
  if (Math.abs(dy) >= (box.height + other.height) / 2 || Math.abs(dx) < (box.width + other.width) / 2) {
    return dy <= 0 ? "top" : "bottom";
  }
  return dx < 0 ? "left" : "right";
}

/** One line per edge, from box centre sides fanned out. `boxes` are centres with sizes. */
export function fanOut(boxes: readonly FanBox[], edges: readonly FanEdge[]): Line[] {
  const lines: Line[] = edges.map(() => ({ x1: 0, y1: 0, x2: 0, y2: 0 }));
  const sides = new Map<string, { readonly box: number; readonly side: Side; readonly ends: End[] }>();
  const add = (edge: number, box: number, other: number, atSource: boolean) => {
    const side = facing(boxes[box], boxes[other]);
    const dx = boxes[other].x - boxes[box].x;
    const dy = boxes[other].y - boxes[box].y;
    // Grows from left to right on top and bottom, downward on the sides.
    const angle = side === "top" || side === "bottom" ? Math.atan2(dx, Math.abs(dy)) : Math.atan2(dy, Math.abs(dx));
    const key = `${box} ${side}`;
    const known = sides.get(key);
    const end = { edge, atSource, angle, width: Math.max(THINNEST, edges[edge].width) + GAP };
    if (known === undefined) sides.set(key, { box, side, ends: [end] });
    else known.ends.push(end);
  };
  for (let edge = 0; edge < edges.length; edge++) {
    add(edge, edges[edge].source, edges[edge].target, true);
    add(edge, edges[edge].target, edges[edge].source, false);
  }

  for (const { box: index, side, ends } of sides.values()) {
    const box = boxes[index];
    const across = side === "top" || side === "bottom";
    const room = Math.max(0, (across ? box.width : box.height) - 2 * CORNER);
    const total = ends.reduce((sum, end) => sum + end.width, 0);
    const squeeze = total > room ? room / total : 1;
    ends.sort((a, b) => a.angle - b.angle || a.edge - b.edge);
    let at = (-total * squeeze) / 2;
    for (const end of ends) {
      const step = end.width * squeeze;
      const offset = at + step / 2;
      at += step;
      const x = across ? box.x + offset : box.x + (side === "left" ? -box.width / 2 : box.width / 2);
      const y = across ? box.y + (side === "top" ? -box.height / 2 : box.height / 2) : box.y + offset;
      const line = lines[end.edge];
      if (end.atSource) {
        line.x1 = x;
        line.y1 = y;
      } else {
        line.x2 = x;
        line.y2 = y;
      }
    }
  }
  return lines;
}
