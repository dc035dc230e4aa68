// Which nodes a key of `clerps` means, which of several labels wins, and what editing does to them.

import { describe, expect, it } from "vitest";
import { featureNode, legacy, lorsa, toy } from "../../fixtures/generate";
import { circuitTracerPairs, meaningfulLabel, neuronpediaPairs, shownLabels, userLabels, withLabel } from "./labels";
import { graphOf, ixOf } from "./testing";

const graph = graphOf(toy());
const at = (id: string) => ixOf(graph, id);
const labelled = (g: typeof graph, pairs: [string, string][]) => {
  const own = userLabels(g, new Map(pairs));
  return Object.fromEntries(g.nodes.filter(({ ix }) => own[ix] !== undefined).map(({ ix, id }) => [id, own[ix]]));
};

describe("keys", () => {
  it("by number hold at all positions, for features alone", () => {
    expect(labelled(graph, [["43", "a"]])).toEqual({ "1_7_2": "a", "1_7_4": "a" });
    // 2 is a position, 512 a token of the vocabulary, -1 an error.
    expect(
      labelled(graph, [
        ["2", "a"],
        ["512", "b"],
        ["-1", "c"],
      ]),
    ).toEqual({});
  });

  it("by layer, number and position hold at one", () => {
    expect(labelled(graph, [["1_43_4", "a"]])).toEqual({ "1_7_4": "a" });
    expect(labelled(graph, [["4_512_4", "a"]])).toEqual({ "4_512_4": "a" });
    expect(labelled(graph, [["E_2_2", "a"]])).toEqual({ E_900_2: "a" });
  });

  it("by layer and number hold at all positions", () => {
    expect(labelled(graph, [["1_43", "a"]])).toEqual({ "1_7_2": "a", "1_7_4": "a" });
  });

  it("more specific ones win, in whatever order they come", () => {
    const pairs: [string, string][] = [
      ["1_7_2", "id"],
      ["1_43_2", "place"],
      ["1_43_4", "place"],
      ["1_43", "layer"],
      ["43", "number"],
    ];
    for (const order of [pairs, [...pairs].reverse()]) {
      expect(labelled(graph, order)).toEqual({ "1_7_2": "id", "1_7_4": "place" });
    }
    expect(labelled(graph, pairs.slice(3))).toEqual({ "1_7_2": "layer", "1_7_4": "layer" });
  });

  it("take a node's id first, where it could be read either way", () => {
    const json = toy();
    json.nodes.push(featureNode(1, 43, 2), featureNode(43, 0, 2));
    const both = graphOf(json);
    expect(labelled(both, [["1_43_2", "a"]])).toEqual({ "1_43_2": "a" });
  });

  it("of published links, numbered in the older way, are found in newer files and the reverse", () => {
    const json = toy();
    json.nodes.push(featureNode(23, 8855, 2), featureNode(10, 117209, 4));
    const newer = graphOf(json);
    expect(
      labelled(newer, [
        ["2308855", "a"],
        ["10_10117209_4", "b"],
        ["10_10117209_3", "c"],
      ]),
    ).toEqual({
      "23_8855_2": "a",
      "10_117209_4": "b",
    });
    const older = graphOf(legacy());
    expect(labelled(older, [["2308855", "a"]])).toEqual({ "23_8855_2": "a" });
    expect(labelled(older, [[String(((23 + 8855) * (23 + 8855 + 1)) / 2 + 8855), "a"]])).toEqual({ "23_8855_2": "a" });
  });

  it("that mean nothing, and empty labels, do no harm", () => {
    expect(
      labelled(graph, [
        ["", "a"],
        ["_", "b"],
        ["1_2", "c"],
        ["a_b_c_d", "d"],
        ["43", ""],
        ["__proto__", "e"],
      ]),
    ).toEqual({});
  });
});

describe("shown labels", () => {
  it("fall back to the file's and to the kind's", () => {
    const shown = shownLabels(graph, new Map([["43", "blue"]]));
    expect(shown[at("1_7_2")]).toBe("blue");
    expect(shown[at("2_3_4")]).toBe("L2/3");
    expect(shown[at("E_900_2")]).toBe("Emb: “ sky”");
    expect(shown[at("1_-1_4")]).toBe("Err: mlp “ so”");
    expect(shown[at("4_512_4")]).toBe('Output " blue" (p=0.640)');
    const other = graphOf(lorsa());
    expect(shownLabels(other, new Map())[2]).toBe("Err: attn “ A”");
  });

  it("are meaningful where they say more than a place", () => {
    expect(meaningfulLabel(graph, new Map(), at("2_3_4"))).toBeNull();
    expect(meaningfulLabel(graph, new Map([["18", "x"]]), at("2_3_4"))).toBe("x");
    expect(meaningfulLabel(graph, new Map(), at("E_900_2"))).toBe("Emb: “ sky”");
  });
});

describe("editing", () => {
  it("labels a feature everywhere, a token where it is", () => {
    expect(withLabel(graph, new Map(), at("1_7_2"), " blue ")).toEqual(new Map([["43", "blue"]]));
    expect(withLabel(graph, new Map(), at("E_900_2"), "sky")).toEqual(new Map([["E_900_2", "sky"]]));
    expect(withLabel(graph, new Map(), at("1_-1_4"), "rest")).toEqual(new Map([["1_-1_4", "rest"]]));
  });

  it("keeps the scope of a label that is there", () => {
    const labels = new Map([
      ["43", "all"],
      ["1_43_2", "one"],
    ]);
    expect(withLabel(graph, labels, at("1_7_2"), "new")).toEqual(
      new Map([
        ["43", "all"],
        ["1_43_2", "new"],
      ]),
    );
    expect(withLabel(graph, labels, at("1_7_4"), "new")).toEqual(
      new Map([
        ["43", "new"],
        ["1_43_2", "one"],
      ]),
    );
  });

  it("with an empty text takes every label of the node away", () => {
    const labels = new Map([
      ["43", "all"],
      ["1_43_2", "one"],
      ["18", "other"],
    ]);
    expect(withLabel(graph, labels, at("1_7_2"), "  ")).toEqual(new Map([["18", "other"]]));
  });
});

it("writes pairs in the two styles", () => {
  const labels = new Map([
    ["43", "all"],
    ["1_7_4", "one"],
    ["E_900_2", "token"],
    ["999999", "not here"],
  ]);
  expect(circuitTracerPairs(graph, labels)).toEqual([
    ["43", "all"],
    ["1_7_4", "one"],
    ["E_900_2", "token"],
  ]);
  expect(neuronpediaPairs(graph, labels)).toEqual([
    ["1_43_2", "all"],
    ["1_43_4", "one"],
    ["E_2_2", "token"],
  ]);
});
