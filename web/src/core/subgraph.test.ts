// Boxes and edges against numbers worked out by hand and against the formula written down as plainly as it is stated.

import { describe, expect, it } from "vitest";
import { type FixtureGraph, random, synthetic, toy } from "../../fixtures/generate";
import { edges, items, placeOrder } from "./subgraph";
import { graphOf } from "./testing";
import type { Graph, Item, Visible } from "./types";
import { makeView, readView } from "./view";
import { visible } from "./visible";

const viewOf = (graph: Graph, params: Record<string, unknown>) => makeView(graph, readView(params).parts);
const boxesOf = (graph: Graph, params: Record<string, unknown>) =>
  items(
    graph,
    viewOf(graph, params),
    graph.nodes.map(({ id }) => id),
  );

/** Section 3.6 word for word, over the file's own links. */
function byFormula(json: FixtureGraph, shown: ReadonlySet<string>, boxes: readonly (readonly string[])[]): Map<string, number> {
  const links = json.links.filter(({ source, target }) => shown.has(source) && shown.has(target));
  const own = (id: string) => boxes.find((box) => box.includes(id)) ?? [];
  const sum = (list: readonly { weight: number }[]) => list.reduce((total, { weight }) => total + Math.abs(weight), 0);
  const into = (t: string) => links.filter(({ target }) => target === t);
  const ext = (t: string) => sum(into(t).filter(({ source }) => !own(t).includes(source)));
  const share = (t: string) => ext(t) / sum(into(t)) || 0;
  const result = new Map<string, number>();
  for (const a of boxes) {
    for (const b of boxes) {
      if (a === b) continue;
      const whole = b.reduce((total, t) => total + share(t), 0);
      let edge = 0;
      for (const t of b) {
        for (const { source, weight } of into(t)) {
          if (a.includes(source) && ext(t) > 0) edge += ((weight / ext(t)) * share(t)) / whole;
        }
      }
      if (edge !== 0) result.set(`${boxes.indexOf(a)}>${boxes.indexOf(b)}`, edge);
    }
  }
  return result;
}

function compare(json: FixtureGraph, graph: Graph, shown: Visible, boxes: readonly Item[]): number {
  const ids = new Set(graph.nodes.filter(({ ix }) => shown.node[ix] === 1).map(({ id }) => id));
  const plain = byFormula(
    json,
    ids,
    boxes.map(({ nodes }) => nodes.map((ix) => graph.nodes[ix].id)),
  );
  const found = edges(graph, shown, boxes);
  expect(new Set(found.map(({ source, target }) => `${source}>${target}`))).toEqual(new Set(plain.keys()));
  for (const { source, target, weight } of found) {
    expect(Math.abs(weight - (plain.get(`${source}>${target}`) ?? Number.NaN))).toBeLessThan(1e-9);
  }
  for (let i = 1; i < found.length; i++) {
    expect(Math.abs(found[i].weight)).toBeGreaterThanOrEqual(Math.abs(found[i - 1].weight));
  }
  return found.length;
}

describe("items", () => {
  const graph = graphOf(toy());

  it("are loose pins in their order, then supernodes with a pinned member", () => {
    const boxes = boxesOf(graph, {
      pinnedIds: "2_3_4,nowhere,1_7_2,4_512_4,2_3_4",
      supernodes: [
        ["none pinned", "0_4_1", "0_9_2"],
        ["one pinned", "1_7_4", "1_7_2"],
        ["second has it", "1_7_2", "1_7_4"],
      ],
    });
    expect(boxes.map(({ key, nodes }) => [key, nodes.map((ix) => graph.nodes[ix].id)])).toEqual([
      ["n:2_3_4", ["2_3_4"]],
      ["n:4_512_4", ["4_512_4"]],
      ["s:2", ["1_7_2"]],
    ]);
  });

  it("are made of the first 200 pins", () => {
    const big = graphOf(synthetic(300, 400));
    const boxes = boxesOf(big, { pinnedIds: big.nodes.map(({ id }) => id) });
    expect(boxes).toHaveLength(200);
  });
});

describe("edges", () => {
  it("equal what paper gives", () => {
    // Two members t, u with an inner link t→u. Inputs of t: 3 from a, -1 from b: ext 4, all 4. Inputs of u: 2 from a, 2 from t:
    // ext 2, all 4. Shares before scaling 1 and 1/2, so 2/3 and 1/3. a→{t,u} = 3/4·2/3 + 2/2·1/3 = 5/6; b→ = -1/4·2/3 = -1/6.
    // {t,u}→c: inputs of c are 1 from u and 1 from b: 1/2. b→c 1/2.
    const json = toy();
    json.nodes = json.nodes.slice(0, 5).map((node, i) => ({ ...node, node_id: "abtuc"[i] }));
    json.links = [
      { source: "a", target: "t", weight: 3 },
      { source: "b", target: "t", weight: -1 },
      { source: "a", target: "u", weight: 2 },
      { source: "t", target: "u", weight: 2 },
      { source: "u", target: "c", weight: 1 },
      { source: "b", target: "c", weight: 1 },
    ];
    const graph = graphOf(json);
    const boxes = boxesOf(graph, { pinnedIds: "a,b,c,t,u", supernodes: [["tu", "t", "u"]] });
    expect(boxes.map(({ key }) => key)).toEqual(["n:a", "n:b", "n:c", "s:1"]);
    const found = new Map(edges(graph, visible(graph, null, []), boxes).map((e) => [`${e.source}>${e.target}`, e.weight]));
    expect([...found.keys()].sort()).toEqual(["0>3", "1>2", "1>3", "3>2"]);
    expect(found.get("0>3")).toBeCloseTo(5 / 6, 12);
    expect(found.get("1>3")).toBeCloseTo(-1 / 6, 12);
    expect(found.get("3>2")).toBeCloseTo(1 / 2, 12);
    expect(found.get("1>2")).toBeCloseTo(1 / 2, 12);
    compare(json, graph, visible(graph, null, []), boxes);
  });

  it("equal the formula on the toy graph, whole and pruned", () => {
    const json = toy();
    const graph = graphOf(json);
    const boxes = boxesOf(graph, json.qParams);
    for (const threshold of [null, 0.5]) {
      const kept = boxes.flatMap(({ nodes }) => nodes);
      expect(compare(json, graph, visible(graph, threshold, kept), boxes)).toBeGreaterThan(2);
    }
  });

  it("equal the formula on random groups of a random graph", () => {
    const json = synthetic(300, 6000, { seed: 7 });
    const graph = graphOf(json);
    const next = random(3);
    const pinned = graph.nodes.filter(() => next() < 0.3).map(({ id }) => id);
    const groups: string[][] = Array.from({ length: 8 }, (_, i) => [`group ${i}`]);
    for (const id of pinned) if (next() < 0.6) groups[Math.floor(next() * groups.length)].push(id);
    const boxes = boxesOf(graph, { pinnedIds: pinned, supernodes: groups });
    const kept = boxes.flatMap(({ nodes }) => nodes);
    for (const threshold of [null, 0.6, 0.3]) {
      expect(compare(json, graph, visible(graph, threshold, kept), boxes)).toBeGreaterThan(100);
    }
  });

  it("survive a member whose inputs are all inside", () => {
    const json = toy();
    json.nodes = json.nodes.slice(0, 3).map((node, i) => ({ ...node, node_id: "tua"[i] }));
    json.links = [
      { source: "t", target: "u", weight: 2 },
      { source: "u", target: "a", weight: 0 },
    ];
    const graph = graphOf(json);
    const boxes = boxesOf(graph, { pinnedIds: "t,u,a", supernodes: [["tu", "t", "u"]] });
    expect(edges(graph, visible(graph, null, []), boxes)).toEqual([]);
  });
});

it("orders places by the sorted characters of feature numbers, whatever the order of members", () => {
  const json = toy();
  const numbers = [21, 12, 3, 111, -1];
  json.nodes = json.nodes.slice(0, 5).map((node, i) => ({ ...node, node_id: "abcde"[i], feature: numbers[i] }));
  json.links = [];
  const graph = graphOf(json);
  const order = (params: Record<string, unknown>) => {
    const boxes = boxesOf(graph, params);
    return placeOrder(graph, boxes).map((b) => boxes[b].key);
  };
  // "1,2" twice (stable), "3", "1,1,1", "-,1".
  expect(order({ pinnedIds: "a,b,c,d,e" })).toEqual(["n:e", "n:d", "n:a", "n:b", "n:c"]);
  expect(order({ pinnedIds: "b,a,c,d,e" })).toEqual(["n:e", "n:d", "n:b", "n:a", "n:c"]);
  // A space sorts before everything.
  for (const members of [
    ["c", "d"],
    ["d", "c"],
  ]) {
    expect(order({ pinnedIds: "a,b,c,d,e", supernodes: [["g", ...members]] })).toEqual(["s:1", "n:e", "n:a", "n:b"]);
  }
});
