// Columns, rows, places and labels of the link graph.

import { describe, expect, it } from "vitest";
import type { GraphNode, NodeKind } from "../core/types";
import { columnAt, type Geometry, labelledRows, layOut, rowName, rowY, shareWidth, spacedOut } from "./geometry";

function node(ix: number, pos: number, row: number, more: Partial<GraphNode> = {}): GraphNode {
  const kind: NodeKind = row < 0 ? "token" : "feature";
  return {
    ix,
    id: `n${ix}`,
    kind,
    row,
    pos,
    index: ix,
    feature: ix,
    clerp: "",
    influence: null,
    activation: null,
    tokenProb: 0,
    isTarget: false,
    ...more,
  };
}

function place(nodes: GraphNode[], more: Partial<Parameters<typeof layOut>[0]> = {}): Geometry {
  return layOut({
    nodes,
    shown: new Uint8Array(nodes.length).fill(1),
    nPositions: 4,
    logitRow: 3,
    width: 600,
    height: 300,
    zoom: 1,
    ...more,
  });
}

const widthOf = (g: Geometry, pos: number) => g.columns[pos + 1] - g.columns[pos];

describe("columns", () => {
  it("are as wide as their fullest layer, and have no width before the first node", () => {
    const g = place([node(0, 1, -1), node(1, 2, 0), node(2, 2, 0), node(3, 2, 0), node(4, 2, 1), node(5, 3, 1), node(6, 3, 1)]);
    expect(g.first).toBe(1);
    expect(widthOf(g, 0)).toBe(0);
    expect(widthOf(g, 2)).toBeCloseTo(3 * widthOf(g, 1));
    expect(widthOf(g, 3)).toBeCloseTo(2 * widthOf(g, 1));
    expect(g.width).toBeCloseTo(600);
  });

  it("hold tokens apart, then make the plot wider than its window", () => {
    const nodes = Array.from({ length: 200 }, (_, i) => node(i, i, -1));
    const g = place(nodes, { nPositions: 200 });
    expect(g.width).toBeGreaterThan(600);
    for (let pos = 0; pos < 200; pos++) expect(widthOf(g, pos)).toBeGreaterThanOrEqual(18 - 1e-9);
    expect(place(nodes, { nPositions: 200, zoom: g.fit }).width).toBeCloseTo(600, 0);
  });

  it("are found by place", () => {
    const g = place([node(0, 1, 0), node(1, 3, 0)]);
    expect(columnAt(g, -50)).toBe(1);
    expect(columnAt(g, g.columns[3] + 1)).toBe(3);
    expect(columnAt(g, 1e9)).toBe(3);
  });

  it("grow with a node beyond the last token of a damaged file, and stand without any node", () => {
    expect(place([node(0, 9, 0)]).columns.length).toBe(11);
    const empty = place([]);
    expect(empty.width).toBeCloseTo(600);
    expect(Number.isFinite(empty.rowHeight)).toBe(true);
  });

  it("take far positions and rows of a damaged file without a cell for each", () => {
    const g = place([node(0, 100_000, 9_000), node(1, 0, -1)], { logitRow: 9_001 });
    expect(g.x[0]).toBeGreaterThan(g.x[1]);
  });
});

describe("shareWidth", () => {
  it("gives the floor to small ones and the rest in proportion", () => {
    const widths = [...shareWidth([1, 1, 8, 0], 100, 20)];
    expect(widths).toEqual([20, 20, 60, 0]);
  });

  it("keeps the sum", () => {
    const widths = shareWidth([1, 2, 3, 4, 30], 400, 18);
    expect(widths.reduce((a, b) => a + b)).toBeCloseTo(400);
  });
});

describe("places in a cell", () => {
  it("go from right to left at equal steps, at most 20 pixels unless all cells have more room", () => {
    const g = place([node(0, 3, 1), node(1, 3, 1), node(2, 3, 2), node(3, 0, -1)]);
    const right = g.columns[4];
    const step = g.x[0] - g.x[1];
    expect(step).toBeGreaterThan(20);
    expect(right - g.x[0]).toBeCloseTo(step / 2, 3);
    // A tight cell elsewhere does not pull the others apart, but limits them to 20.
    const many = Array.from({ length: 60 }, (_, i) => node(i + 4, 0, 0));
    const tight = place([node(0, 3, 1), node(1, 3, 1), node(2, 3, 1), node(3, 3, 1), ...many]);
    expect(tight.x[0] - tight.x[1]).toBeLessThanOrEqual(20 + 1e-3);
  });

  it("stay inside their column", () => {
    const nodes = Array.from({ length: 300 }, (_, i) => node(i, i % 4, i % 3));
    const g = place(nodes);
    for (const { ix, pos } of nodes) {
      expect(g.x[ix]).toBeGreaterThanOrEqual(g.columns[pos] - 1e-3);
      expect(g.x[ix]).toBeLessThanOrEqual(g.columns[pos + 1] + 1e-3);
    }
  });

  it("have the likeliest logit and the most influential feature at the right", () => {
    const g = place([
      node(0, 3, 3, { kind: "logit", tokenProb: 0.1 }),
      node(1, 3, 3, { kind: "logit", tokenProb: 0.7 }),
      node(2, 3, 1, { influence: 0.9 }),
      node(3, 3, 1, { influence: 0.2 }),
    ]);
    expect(g.x[1]).toBeGreaterThan(g.x[0]);
    expect(g.x[3]).toBeGreaterThan(g.x[2]);
  });

  it("are none for what is not shown", () => {
    const g = place([node(0, 1, 0), node(1, 2, 0)], { shown: Uint8Array.of(1, 0) });
    expect(Number.isNaN(g.x[1])).toBe(true);
    expect(Number.isNaN(g.x[0])).toBe(false);
  });
});

describe("rows", () => {
  it("run from the tokens at the bottom to the logits on top", () => {
    const g = place([node(0, 0, -1), node(1, 0, 0), node(2, 0, 3, { kind: "logit" })]);
    expect(g.y[0]).toBeGreaterThan(g.y[1]);
    expect(g.y[1]).toBeGreaterThan(g.y[2]);
    expect(rowY(g, -1)).toBeCloseTo(g.y[0]);
    expect(g.y[2]).toBeCloseTo(g.rowHeight / 2);
  });

  it("have as many names as fit, the ends always", () => {
    expect(labelledRows(4, 30, 13)).toEqual([-1, 0, 1, 2, 3, 4]);
    const rows = labelledRows(26, 8, 13);
    expect(rows[0]).toBe(-1);
    expect(rows.at(-1)).toBe(26);
    for (let i = 1; i < rows.length; i++) expect((rows[i] - rows[i - 1]) * 8).toBeGreaterThanOrEqual(13);
    expect(rows.length).toBeGreaterThan(10);
  });

  it("are named", () => {
    expect([-1, 0, 12, 26].map((row) => rowName(row, 26))).toEqual(["Emb", "L0", "L12", "Logits"]);
  });
});

it("texts that would overlap give way to earlier ones", () => {
  expect(spacedOut([100, 95, 60, 112], [0, 1, 2, 3], 14)).toEqual([0, 2]);
});
