// The shape of each kind of node, added to a path: ● feature, ◆ error, ■ token and output, ▲ attention, + bias, ? unknown.
//
// Shapes have about the same area at the same radius. What they are filled and outlined with is the painter's business.

import type { NodeKind } from "../core/types";

/** The part of a path that the shapes need; a canvas has it, and a test can record it. */
export type Pen = Pick<CanvasPath, "moveTo" | "lineTo" | "arc" | "rect" | "closePath">;

/** Kinds that are drawn with lines only. */
export function isOpen(kind: NodeKind): boolean {
  return kind === "bias" || kind === "unknown";
}

export function addGlyph(pen: Pen, kind: NodeKind, x: number, y: number, radius: number): void {
  switch (kind) {
    case "feature":
      pen.moveTo(x + radius, y);
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      return;
    case "error": {
      const r = radius * 1.22;
      pen.moveTo(x, y - r);
      pen.lineTo(x + r, y);
      pen.lineTo(x, y + r);
      pen.lineTo(x - r, y);
      pen.closePath();
      return;
    }
    case "token":
    case "logit": {
      const r = radius * 0.9;
      pen.rect(x - r, y - r, 2 * r, 2 * r);
      return;
    }
    case "attention": {
      const r = radius * 1.3;
      pen.moveTo(x, y - r);
      pen.lineTo(x + 0.87 * r, y + 0.6 * r);
      pen.lineTo(x - 0.87 * r, y + 0.6 * r);
      pen.closePath();
      return;
    }
    case "bias":
      pen.moveTo(x - radius, y);
      pen.lineTo(x + radius, y);
      pen.moveTo(x, y - radius);
      pen.lineTo(x, y + radius);
      return;
    case "unknown": {
      const r = radius * 0.55;
      pen.moveTo(x - r, y - r);
      pen.arc(x, y - r, r, Math.PI, Math.PI * 2.5);
      pen.lineTo(x, y + r * 0.8);
      pen.moveTo(x, y + r * 1.5);
      pen.lineTo(x, y + r * 1.8);
      return;
    }
  }
}

/** The same as the text of an SVG path, about the origin. */
export function glyphPath(kind: NodeKind, radius: number): string {
  let text = "";
  const r = (value: number) => String(Math.round(value * 1000) / 1000);
  addGlyph(
    {
      moveTo: (x, y) => {
        text += `M${r(x)} ${r(y)}`;
      },
      lineTo: (x, y) => {
        text += `L${r(x)} ${r(y)}`;
      },
      arc: (x, y, size, from, to) => {
        // In halves, as an arc of SVG cannot go all the way round.
        const middle = (from + to) / 2;
        for (const angle of [middle, to]) {
          text += `A${r(size)} ${r(size)} 0 0 1 ${r(x + size * Math.cos(angle))} ${r(y + size * Math.sin(angle))}`;
        }
      },
      rect: (x, y, width, height) => {
        text += `M${r(x)} ${r(y)}h${r(width)}v${r(height)}h${r(-width)}Z`;
      },
      closePath: () => {
        text += "Z";
      },
    },
    kind,
    0,
    0,
    radius,
  );
  return text;
}
