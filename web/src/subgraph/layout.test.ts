// Places of boxes: layered, fitted, kept apart, kept where they were.

import { describe, expect, it } from "vitest";
import { random, synthetic } from "../../fixtures/generate";
import { readGraph } from "../core/read";
import { edges, items } from "../core/subgraph";
import type { Item } from "../core/types";
import { visible } from "../core/visible";
import { byRow, deciding, fitted, type LayoutBox, type LayoutEdge, layered, layOutBoxes, separate, staggered } from "./layout";
import { layoutBoxes, type Place, placeNew } from "./places";

const box = (row: number, pos = 0): LayoutBox => ({ width: 75, height: 25, row, pos });
const edge = (source: number, target: number, weight = 0.5): LayoutEdge => ({ source, target, weight });
const PANEL = { width: 700, height: 400 };

describe("the layered layout", () => {
  it("puts targets above sources", () => {
    const { places } = layOutBoxes({
      boxes: [box(-1), box(0), box(1), box(2)],
      edges: [edge(0, 1), edge(1, 2), edge(2, 3), edge(0, 3, -0.2)],
      ...PANEL,
    });
    for (let i = 1; i < 4; i++) expect(places[i][1]).toBeLessThan(places[i - 1][1]);
  });

  it("ignores edges below 0.003", () => {
    expect(layered([box(0), box(1)], [edge(0, 1, 0.0029)])).toEqual([null, null]);
    expect(layered([box(0), box(1)], [edge(0, 1, -0.003)])).not.toContain(null);
  });

  it("does not put boxes on each other, with or without edges", () => {
    const next = random(3);
    const boxes = Array.from({ length: 24 }, (_, i) => box(Math.floor(i / 4), i % 4));
    const edges = Array.from({ length: 50 }, () => edge(Math.floor(next() * 12), 12 + Math.floor(next() * 8), next()));
    const { places, span } = layOutBoxes({ boxes, edges, ...PANEL });
    const [w, h] = [PANEL.width * span, PANEL.height * span];
    for (let a = 0; a < boxes.length; a++) {
      for (let b = a + 1; b < boxes.length; b++) {
        const dx = Math.abs(places[a][0] - places[b][0]) * w;
        const dy = Math.abs(places[a][1] - places[b][1]) * h;
        expect(dx >= 74 || dy >= 24).toBe(true);
      }
    }
  });

  it("stays in the panel, and asks for more room than the panel has when it must", () => {
    const row = Array.from({ length: 40 }, (_, i) => box(0, i));
    const { places, span } = layOutBoxes({ boxes: [...row, box(1)], edges: row.map((_, i) => edge(i, 40)), ...PANEL });
    expect(span).toBeGreaterThan(1.2);
    for (const [x, y] of places) {
      expect(x).toBeGreaterThanOrEqual(0);
      expect(x).toBeLessThanOrEqual(1);
      expect(y).toBeGreaterThanOrEqual(0);
      expect(y).toBeLessThanOrEqual(1);
    }
  });

  it("of many edges lets the strongest decide, at least one into every box that has one", () => {
    const edges: LayoutEdge[] = [];
    for (let a = 0; a < 20; a++) for (let b = 20; b < 40; b++) edges.push(edge(a, b, 0.01 + ((a * b) % 17) / 20));
    const kept = deciding(edges, 40);
    expect(kept.length).toBeLessThanOrEqual(120);
    for (let b = 20; b < 40; b++) expect(kept.some(({ target }) => target === b)).toBe(true);
    expect(kept[0].weight).toBe(Math.max(...edges.map(({ weight }) => weight)));
  });

  it("copes with cycles and edges to itself", () => {
    const { places } = layOutBoxes({ boxes: [box(0), box(1)], edges: [edge(0, 1), edge(1, 0), edge(1, 1)], ...PANEL });
    expect(places.flat().every(Number.isFinite)).toBe(true);
  });

  it("survives a hundred boxes of a large graph, whose tiny weights do not add up exactly", () => {
    const graph = readGraph(new TextEncoder().encode(JSON.stringify(synthetic(2_000, 50_000))), "large");
    const features = graph.nodes.filter(({ kind }) => kind === "feature");
    const pinned = [
      ...graph.nodes.filter(({ kind }) => kind === "logit").slice(0, 3),
      ...features.toSorted((a, b) => (a.influence ?? 1) - (b.influence ?? 1)).slice(0, 110),
    ].map(({ id }) => id);
    const list = items(graph, { pinned, supernodes: [] }, []);
    const weights = edges(graph, visible(graph, null, []), list);
    const { places } = layOutBoxes({ boxes: layoutBoxes(graph, list), edges: weights, ...PANEL });
    expect(places.length).toBe(113);
    expect(places.flat().every(Number.isFinite)).toBe(true);
  }, 60_000);

  it("of nothing is nothing; of one box its middle", () => {
    expect(layOutBoxes({ boxes: [], edges: [], ...PANEL }).places).toEqual([]);
    const [[x]] = layOutBoxes({ boxes: [box(3)], edges: [], ...PANEL }).places;
    expect(x).toBeCloseTo(0.5);
  });
});

it("by row alone, higher rows are higher and later positions to the right", () => {
  const { places } = byRow({ boxes: [box(0, 0), box(5, 0), box(0, 9)], edges: [], ...PANEL });
  expect(places[1][1]).toBeLessThan(places[0][1]);
  expect(places[2][0]).toBeGreaterThan(places[0][0]);
});

describe("staggered ranks", () => {
  it("make a wide layout about as wide as the panel, without overlaps", () => {
    const raw = Array.from({ length: 60 }, (_, i) => [(i % 30) * 95, i < 30 ? 0 : -45] as const);
    const out = staggered(raw, 2);
    const span = (k: 0 | 1) => Math.max(...out.map((p) => p[k])) - Math.min(...out.map((p) => p[k]));
    expect(span(0) / span(1)).toBeLessThan(6);
    for (let a = 0; a < out.length; a++) {
      for (let b = a + 1; b < out.length; b++) {
        const apart = Math.abs(out[a][0] - out[b][0]) >= 75 || Math.abs(out[a][1] - out[b][1]) >= 25;
        expect(apart).toBe(true);
      }
    }
    // A higher rank stays above a lower one.
    expect(Math.max(...out.slice(30).map(([, y]) => y))).toBeLessThan(Math.min(...out.slice(0, 30).map(([, y]) => y)));
  });

  it("leave alone what fits", () => {
    const raw = [
      [0, 0],
      [95, 0],
      [40, -45],
    ] as const;
    expect(staggered(raw, 2)).toEqual(raw);
  });
});

it("fitted layouts keep their order", () => {
  const { places, span } = fitted(
    [
      [0, 0],
      [5000, -10],
    ],
    700,
    400,
  );
  expect(span).toBeGreaterThan(5);
  expect(places[0][0]).toBeLessThan(places[1][0]);
});

it("separate moves only what may move", () => {
  const size = { width: 75, height: 25 };
  const out = separate(
    [
      [100, 100],
      [100, 100],
      [400, 100],
    ],
    [size, size, size],
    (i) => i !== 1,
  );
  expect(out[0]).toEqual([100, 100]);
  expect(out[2]).toEqual([400, 100]);
  expect(Math.abs(out[1][1] - 100)).toBeGreaterThanOrEqual(25 + 8 - 0.1);
});

describe("new boxes among ones set by hand", () => {
  const item = (key: string, ...nodes: number[]): Item => ({ key, label: key, supernode: null, nodes });
  const items = [item("n:a", 0), item("n:b", 1), item("n:c", 2)];
  const laidOut: Place[] = [
    [0.5, 0.9],
    [0.5, 0.5],
    [0.5, 0.1],
  ];
  const base = { items, laidOut, edges: [{ source: 1, target: 2, weight: 0.4 }], width: 1000, height: 500 };

  it("leave those where they are, and come beside their neighbours", () => {
    const known = new Map<string, Place>([["n:a", [0.2, 0.8]]]);
    const byHand = new Map<string, Place>([["n:b", [0.9, 0.6]]]);
    const places = placeNew({ ...base, known, byHand, ofNode: new Map() });
    expect(places.get("n:a")).toEqual([0.2, 0.8]);
    expect(places.get("n:b")).toEqual([0.9, 0.6]);
    const [x, y] = places.get("n:c")!;
    expect(x).toBeCloseTo(0.9);
    expect(y).toBeCloseTo(0.2);
  });

  it("of a new supernode come to where its members were", () => {
    const places = placeNew({
      ...base,
      items: [items[0], { key: "s:1", label: "s", supernode: "1", nodes: [1, 2] }],
      laidOut: laidOut.slice(0, 2),
      edges: [],
      known: new Map([["n:a", [0.1, 0.1]]]),
      byHand: new Map(),
      ofNode: new Map<number, Place>([
        [1, [0.4, 0.4]],
        [2, [0.6, 0.6]],
      ]),
    });
    expect(places.get("s:1")).toEqual([expect.closeTo(0.5), expect.closeTo(0.5)]);
  });

  it("are pushed off what is there, and into the panel", () => {
    const places = placeNew({
      ...base,
      items: items.slice(0, 2),
      laidOut: [
        [0.5, 0.5],
        [0.5, 0.5],
      ],
      edges: [],
      known: new Map([["n:a", [0.5, 0.5]]]),
      byHand: new Map(),
      ofNode: new Map<number, Place>(),
    });
    const [x, y] = places.get("n:b")!;
    expect(Math.abs(x - 0.5) * 1000 >= 75 || Math.abs(y - 0.5) * 500 >= 50).toBe(true);
  });
});
