// Pruning hides exactly what it should, link types draw exactly what they should, and connections add up.

import { describe, expect, it } from "vitest";
import { type FixtureGraph, synthetic, toy } from "../../fixtures/generate";
import { connections } from "./connections";
import { graphOf, ixOf } from "./testing";
import type { Graph, LinkType, NodeIx } from "./types";
import { drawnLinks, visible } from "./visible";

const idsOf = (graph: Graph, mask: Uint8Array) => graph.nodes.filter(({ ix }) => mask[ix] === 1).map(({ id }) => id);
const named = (graph: Graph, links: Iterable<number>) =>
  [...links].map((l) => `${graph.nodes[graph.links.source[l]].id}>${graph.nodes[graph.links.target[l]].id}`);

describe("visible", () => {
  const json = toy();
  const graph = graphOf(json);

  it("without a threshold is everything", () => {
    const shown = visible(graph, null, []);
    expect([shown.nNodes, shown.nLinks]).toEqual([15, 22]);
  });

  it("keeps tokens, logits, the pinned and the clicked, and nodes up to the threshold", () => {
    const kept = [ixOf(graph, "1_-1_4"), ixOf(graph, "0_4_1")];
    const shown = visible(graph, 0.44, kept);
    expect(new Set(idsOf(graph, shown.node))).toEqual(
      new Set([
        ...["0_9_2", "1_7_2", "1_7_4", "2_3_4", "1_-1_4", "0_4_1"],
        ...["E_2_0", "E_101_1", "E_900_2", "E_77_3", "E_88_4", "4_512_4", "4_513_4"],
      ]),
    );
    expect(shown.nNodes).toBe(13);
    expect(
      named(
        graph,
        [...shown.link.keys()].filter((l) => shown.link[l] === 1),
      ),
    ).not.toContain("2_11_4>4_512_4");
  });

  it("shows a node without an influence, null or absent", () => {
    const bare = toy();
    bare.nodes[0].influence = null;
    delete (bare.nodes[1] as Partial<FixtureGraph["nodes"][0]>).influence;
    const shown = visible(graphOf(bare), 0.05, []);
    expect(idsOf(graphOf(bare), shown.node).slice(0, 2)).toEqual(["0_4_1", "0_9_2"]);
  });

  it("computes shares of input on what is left", () => {
    const shown = visible(graph, 0.44, []);
    const target = ixOf(graph, "4_512_4");
    // Left of its inputs: 1.9 and 0.7.
    expect(shown.inputSum[target]).toBeCloseTo(2.6, 12);
    const l = named(graph, graph.links.weight.keys()).indexOf("2_3_4>4_512_4");
    expect(shown.pctInput[l]).toBeCloseTo(1.9 / 2.6, 12);
    const gone = named(graph, graph.links.weight.keys()).indexOf("2_11_4>4_512_4");
    expect(shown.pctInput[gone]).toBe(0);
  });

  it("agrees with a plain filter on every threshold", () => {
    const big = synthetic(400, 5000);
    const g = graphOf(big);
    for (const t of [0, 0.1, 0.25, 0.5, 0.79, 0.8, 1]) {
      const expected = big.nodes
        .filter((n) => n.feature_type === "embedding" || n.feature_type === "logit" || (n.influence ?? 0) <= t)
        .map(({ node_id }) => node_id);
      const shown = visible(g, t, []);
      expect(idsOf(g, shown.node)).toEqual(expected);
      const set = new Set(expected);
      expect(shown.nLinks).toBe(big.links.filter(({ source, target }) => set.has(source) && set.has(target)).length);
    }
  });
});

describe("drawnLinks", () => {
  const graph = graphOf(toy());
  const shown = visible(graph, null, []);
  const pinnedIds = ["1_7_2", "2_3_4", "4_512_4"];
  const pinned = new Set(pinnedIds.map((id) => ixOf(graph, id)));
  const all = named(graph, graph.links.weight.keys());
  const ends = (link: string) => link.split(">");
  const rules: Record<LinkType, (source: string, target: string) => boolean> = {
    input: (_, target) => pinnedIds.includes(target),
    output: (source) => pinnedIds.includes(source),
    either: (source, target) => pinnedIds.includes(source) || pinnedIds.includes(target),
    both: (source, target) => pinnedIds.includes(source) && pinnedIds.includes(target),
  };

  it.each(["input", "output", "either", "both"] as const)("%s", (type) => {
    const drawn = drawnLinks(graph, shown, [], pinned, type);
    const expected = all.filter((link) => rules[type](ends(link)[0], ends(link)[1]));
    expect(named(graph, drawn).sort()).toEqual(expected.sort());
    const strength = [...drawn].map((l) => Math.abs(shown.pctInput[l]));
    expect(strength).toEqual([...strength].sort((a, b) => a - b));
  });

  it("draws a selection's links and no pinned ones", () => {
    const selected = ixOf(graph, "1_7_4");
    const drawn = named(graph, drawnLinks(graph, shown, [selected], pinned, "either"));
    expect(drawn.sort()).toEqual(all.filter((link) => ends(link).includes("1_7_4")).sort());
  });

  it("draws each link of a supernode once", () => {
    const two = ["1_7_2", "2_3_4"];
    const drawn = named(
      graph,
      drawnLinks(
        graph,
        shown,
        two.map((id) => ixOf(graph, id)),
        pinned,
        "both",
      ),
    );
    expect(drawn.sort()).toEqual(all.filter((link) => two.some((id) => ends(link).includes(id))).sort());
  });

  it("leaves out links of nodes that are pruned", () => {
    const few = visible(graph, 0.2, []);
    const drawn = named(graph, drawnLinks(graph, few, [ixOf(graph, "2_3_4")], new Set(), "both"));
    expect(drawn.sort()).toEqual(["1_7_2>2_3_4", "2_3_4>4_512_4", "2_3_4>4_513_4", "E_900_2>2_3_4"]);
  });
});

describe("connections", () => {
  const graph = graphOf(toy());
  const shown = visible(graph, null, []);
  const lines = (list: readonly { node: NodeIx; weight: number; pctInput: number }[]) =>
    list.map(({ node, weight, pctInput }) => [graph.nodes[node].id, weight, Number(pctInput.toFixed(6))]);

  it("of a node: its inputs by share, its outputs by their share of the other's inputs", () => {
    const found = connections(graph, shown, [ixOf(graph, "2_3_4")]);
    expect(lines(found.inputs)).toEqual([
      ["1_7_2", 3, 0.521739],
      ["1_7_4", 1.5, 0.26087],
      ["E_900_2", 0.5, 0.086957],
      ["1_-1_4", -0.75, -0.130435],
    ]);
    expect(lines(found.outputs)).toEqual([
      ["4_512_4", 1.9, Number((1.9 / 3.3).toFixed(6))],
      ["4_513_4", 0.2, Number((0.2 / 1.1).toFixed(6))],
    ]);
  });

  it("of a supernode: summed over its members, without the links inside it", () => {
    const found = connections(
      graph,
      shown,
      ["1_7_2", "1_7_4", "2_3_4"].map((id) => ixOf(graph, id)),
    );
    // Inputs from outside: 2.5 + 0.75 + 1.25 into the first, 1 + 0.5 - 0.25 into the second, -0.75 + 0.5 into the third.
    const sum = 2.5 + 0.75 + 1.25 + 1 + 0.5 + 0.25 + 0.75 + 0.5;
    expect(lines(found.inputs)).toEqual(
      [
        ["0_9_2", 3.5],
        ["E_900_2", 1.75],
        ["0_4_1", 0.75],
        ["E_88_4", 0.5],
        ["E_77_3", -0.25],
        ["1_-1_4", -0.75],
      ].map(([id, w]) => [id, w, Number(((w as number) / sum).toFixed(6))]),
    );
    expect(new Map(found.outputs.map(({ node, weight }) => [graph.nodes[node].id, weight]))).toEqual(
      new Map([
        ["4_512_4", 1.9 + 0.7],
        ["4_513_4", 0.2],
        ["2_11_4", 0.8],
      ]),
    );
  });
});
