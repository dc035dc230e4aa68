// A picture of the subgraph as data: boxes, rings, labels, edges with final colours; and its two forms, SVG text and a painted
// canvas. Nothing in the SVG refers to anything outside it.

import type { NodeKind } from "../core/types";
import { addGlyph, glyphPath } from "../linkgraph/glyphs";

export interface SceneRing {
  readonly kind: NodeKind;
  readonly x: number;
  readonly y: number;
  readonly radius: number;
  readonly fill: string;
  readonly line: string;
  readonly lineWidth: number;
}

export interface SceneBox {
  /** Left upper corner. */
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly line: string;
  readonly lineWidth: number;
  readonly rings: readonly SceneRing[];
  readonly label: readonly string[];
}

export interface SceneEdge {
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
  readonly width: number;
  readonly colour: string;
  readonly dash: readonly number[];
}

export interface Scene {
  readonly width: number;
  readonly height: number;
  readonly title: string;
  readonly background: string;
  readonly box: string;
  readonly text: string;
  readonly font: string;
  readonly fontSize: number;
  readonly boxes: readonly SceneBox[];
  readonly edges: readonly SceneEdge[];
}

const CORNER = 6;
const EDGE_OPACITY = 0.8;
const LINE_HEIGHT = 1.2;

/** Text for XML; characters that XML cannot hold are left out. */
export function escapeXml(text: string): string {
  return [...text]
    .filter((c) => {
      const code = c.codePointAt(0)!;
      const control = code < 0x20 && code !== 0x09 && code !== 0x0a && code !== 0x0d;
      return !control && !(code >= 0xd800 && code <= 0xdfff) && code !== 0xfffe && code !== 0xffff;
    })
    .join("")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}

function n(value: number): string {
  return String(Math.round(value * 100) / 100);
}

export function sceneToSvg(scene: Scene): string {
  const { width, height, font, fontSize } = scene;
  const out: string[] = [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<svg xmlns="http://www.w3.org/2000/svg" width="${n(width)}" height="${n(height)}" viewBox="0 0 ${n(width)} ${n(height)}" ` +
      `font-family="${escapeXml(font)}" font-size="${n(fontSize)}">`,
    `<title>${escapeXml(scene.title)}</title>`,
    `<rect width="${n(width)}" height="${n(height)}" fill="${escapeXml(scene.background)}"/>`,
    `<g stroke-linecap="round" opacity="1" stroke-opacity="${EDGE_OPACITY}">`,
  ];
  for (const edge of scene.edges) {
    const dash = edge.dash.length > 0 ? ` stroke-dasharray="${edge.dash.map(n).join(" ")}"` : "";
    out.push(
      `<line x1="${n(edge.x1)}" y1="${n(edge.y1)}" x2="${n(edge.x2)}" y2="${n(edge.y2)}" ` +
        `stroke="${escapeXml(edge.colour)}" stroke-width="${n(edge.width)}"${dash}/>`,
    );
  }
  out.push("</g>");
  for (const box of scene.boxes) {
    out.push(
      `<rect x="${n(box.x)}" y="${n(box.y)}" width="${n(box.width)}" height="${n(box.height)}" rx="${CORNER}" ` +
        `fill="${escapeXml(scene.box)}" stroke="${escapeXml(box.line)}" stroke-width="${n(box.lineWidth)}"/>`,
    );
    for (const ring of box.rings) {
      out.push(
        `<path transform="translate(${n(ring.x)} ${n(ring.y)})" d="${glyphPath(ring.kind, ring.radius)}" ` +
          `fill="${escapeXml(ring.fill)}" stroke="${escapeXml(ring.line)}" stroke-width="${n(ring.lineWidth)}"/>`,
      );
    }
    box.label.forEach((line, i) => {
      const x = box.x + box.width / 2;
      const y = box.y + box.height + fontSize * (1.1 + i * LINE_HEIGHT);
      out.push(
        `<text x="${n(x)}" y="${n(y)}" text-anchor="middle" fill="${escapeXml(scene.text)}" stroke="${escapeXml(scene.background)}" ` +
          `stroke-width="3" stroke-linejoin="round" paint-order="stroke">${escapeXml(line)}</text>`,
      );
    });
  }
  out.push("</svg>", "");
  return out.join("\n");
}

/** Paints the scene at `scale` pixels per unit. */
export function paintScene(canvas: HTMLCanvasElement, scene: Scene, scale: number): void {
  canvas.width = Math.round(scene.width * scale);
  canvas.height = Math.round(scene.height * scale);
  const context = canvas.getContext("2d");
  if (context === null) throw new Error("This browser gives no canvas to paint on.");
  context.scale(scale, scale);
  context.fillStyle = scene.background;
  context.fillRect(0, 0, scene.width, scene.height);

  context.lineCap = "round";
  context.globalAlpha = EDGE_OPACITY;
  for (const edge of scene.edges) {
    context.beginPath();
    context.moveTo(edge.x1, edge.y1);
    context.lineTo(edge.x2, edge.y2);
    context.setLineDash([...edge.dash]);
    context.strokeStyle = edge.colour;
    context.lineWidth = edge.width;
    context.stroke();
  }
  context.setLineDash([]);
  context.globalAlpha = 1;

  context.font = `${scene.fontSize}px ${scene.font}`;
  context.textAlign = "center";
  context.lineJoin = "round";
  for (const box of scene.boxes) {
    context.beginPath();
    context.roundRect(box.x, box.y, box.width, box.height, CORNER);
    context.fillStyle = scene.box;
    context.fill();
    context.strokeStyle = box.line;
    context.lineWidth = box.lineWidth;
    context.stroke();
    for (const ring of box.rings) {
      context.beginPath();
      addGlyph(context, ring.kind, ring.x, ring.y, ring.radius);
      context.fillStyle = ring.fill;
      context.fill();
      context.strokeStyle = ring.line;
      context.lineWidth = ring.lineWidth;
      context.stroke();
    }
    box.label.forEach((line, i) => {
      const x = box.x + box.width / 2;
      const y = box.y + box.height + scene.fontSize * (1.1 + i * LINE_HEIGHT);
      context.strokeStyle = scene.background;
      context.lineWidth = 3;
      context.strokeText(line, x, y);
      context.fillStyle = scene.text;
      context.fillText(line, x, y);
    });
  }
}

export function sceneToPng(scene: Scene, scale = 2): Promise<Blob> {
  const canvas = document.createElement("canvas");
  paintScene(canvas, scene, scale);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob === null ? reject(new Error("The picture is too large.")) : resolve(blob)), "image/png");
  });
}

/** Lines no wider than `width`, broken at spaces, and in words only where a word alone is wider; the last of `most` is cut. */
export function wrap(text: string, width: number, most: number, measure: (text: string) => number): string[] {
  const lines: string[] = [];
  let line = "";
  const words = text.split(/\s+/).filter((word) => word !== "");
  for (let word of words) {
    const joined = line === "" ? word : `${line} ${word}`;
    if (measure(joined) <= width) {
      line = joined;
      continue;
    }
    if (line !== "") lines.push(line);
    line = "";
    while (measure(word) > width && word.length > 1) {
      const letters = [...word];
      let end = letters.length - 1;
      while (end > 1 && measure(letters.slice(0, end).join("")) > width) end--;
      lines.push(letters.slice(0, end).join(""));
      word = letters.slice(end).join("");
    }
    line = word;
  }
  if (line !== "") lines.push(line);
  if (lines.length <= most) return lines;
  const last = [...lines[most - 1]];
  while (last.length > 0 && measure(`${last.join("")}…`) > width) last.pop();
  return [...lines.slice(0, most - 1), `${last.join("")}…`];
}
