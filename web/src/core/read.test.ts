// Graph files of every producer open, with the right rows, kinds and links, and what is odd about them is counted.

import { describe, expect, it } from "vitest";
import { collisions, featureNode, hostile, legacy, lorsa, odd, oneToken, synthetic, toy } from "../../fixtures/generate";
import python from "../../fixtures/graphs/python-llama-plt-skip.json";
import { unpair } from "./cantor";
import { NotAGraph, readGraph } from "./read";
import { bytes, graphOf, ixOf } from "./testing";

describe("a graph of schema 1", () => {
  const graph = graphOf(toy());

  it("has its nodes in rows and columns", () => {
    expect(graph.nodes).toHaveLength(15);
    expect(graph.logitRow).toBe(3);
    const node = graph.nodes[ixOf(graph, "1_7_2")];
    expect(node).toMatchObject({ kind: "feature", row: 1, pos: 2, index: 7, feature: 43, influence: 0.18, activation: 3.25 });
    expect(graph.nodes[ixOf(graph, "E_900_2")]).toMatchObject({ kind: "token", row: -1, pos: 2, index: null });
    expect(graph.nodes[ixOf(graph, "1_-1_4")]).toMatchObject({ kind: "error", row: 1, pos: 4, index: null });
    expect(graph.nodes[ixOf(graph, "4_512_4")]).toMatchObject({ kind: "logit", row: 3, tokenProb: 0.64, isTarget: true });
    expect(graph.diagnostics).toEqual([]);
  });

  it("has every link once, by its target and by its source", () => {
    const { source, target, weight } = graph.links;
    expect(weight).toHaveLength(22);
    for (const [ends, { start, link }] of [
      [target, graph.inputs],
      [source, graph.outputs],
    ] as const) {
      expect([...link].sort((a, b) => a - b)).toEqual([...weight.keys()]);
      for (let n = 0; n < graph.nodes.length; n++) {
        for (let i = start[n]; i < start[n + 1]; i++) expect(ends[link[i]]).toBe(n);
      }
    }
  });

  it("takes its name from where it was found", () => {
    const named = readGraph(bytes(toy()), "elsewhere");
    expect(named.slug).toBe("elsewhere");
    expect(named.raw.metadata.slug).toBe("toy-sky");
  });
});

it("reads a file of the Python library without an oddity", () => {
  const graph = readGraph(bytes(python), "python");
  expect(graph.diagnostics).toEqual([]);
  expect(graph.nodes).toHaveLength(python.nodes.length);
  expect(graph.links.weight).toHaveLength(python.links.length);
  const top = Math.max(
    ...python.nodes.filter((n) => /^\d+$/.test(n.layer) && n.feature_type !== "logit").map((n) => Number(n.layer)),
  );
  expect(graph.logitRow).toBe(top + 1);
  for (const node of graph.nodes) {
    if (node.kind === "feature") expect(unpair(node.feature ?? -1)).toEqual({ layer: node.row, index: node.index });
  }
});

describe("layers of logits", () => {
  it.each(["27", 27, "26", "Lgt", undefined])("%j: directly above the highest row present", (layer) => {
    const json = oneToken();
    const logit = json.nodes[3];
    const nodes = [...json.nodes.slice(0, 3), { ...logit, layer: layer as string }];
    const graph = graphOf({ ...json, nodes });
    expect(graph.nodes[3].row).toBe(2);
    expect(graph.links.weight).toHaveLength(3);
  });
});

describe("older files", () => {
  const graph = graphOf(legacy());

  it("take layer and index from ids", () => {
    expect(graph.nodes[ixOf(graph, "23_8855_2")]).toMatchObject({ feature: 2308855, index: 8855, row: 23 });
    expect(graph.nodes[ixOf(graph, "11_15631_1")]).toMatchObject({ kind: "feature", index: 15631 });
    expect(graph.logitRow).toBe(24);
    expect(graph.nodeThreshold).toBeNull();
  });

  it("take the index from the padded number where an id does not say it", () => {
    const json = legacy();
    json.nodes[0].node_id = "old-style";
    json.nodes[1] = { ...json.nodes[1], node_id: "old-style-2", layer: 10, feature: 10117209 };
    const old = graphOf(json);
    expect(old.nodes[0]).toMatchObject({ row: 23, index: 8855 });
    expect(old.nodes[1]).toMatchObject({ row: 10, index: 117209 });
  });
});

it("takes the index from the paired number where an id of schema 1 does not say it", () => {
  const json = toy();
  json.nodes[2].node_id = "some-id";
  expect(graphOf(json).nodes[2].index).toBe(7);
});

it("knows Neuronpedia's other nodes", () => {
  const graph = graphOf(lorsa());
  expect(graph.nodes.map(({ kind }) => kind)).toEqual([
    ...["feature", "attention", "error", "error", "bias", "unknown", "token", "token", "token", "logit"],
  ]);
  expect(graph.nodes[0]).toMatchObject({ row: 0, pos: 1, index: 17, feature: 17 });
  expect(graph.nodes[1]).toMatchObject({ row: 1, pos: 2, index: 8 });
  expect(graph.nodes[2]).toMatchObject({ row: 1, pos: 2, index: null, feature: null });
  expect(graph.links.weight).toHaveLength(7);
  expect(graph.raw.qk_only_nodes).toBeDefined();
  expect(graph.diagnostics).toEqual([]);
});

describe("one id for a feature and an error", () => {
  const graph = graphOf(collisions());

  it("keeps both, gives the links to the first, and says so", () => {
    expect(graph.nodes).toHaveLength(7);
    expect(graph.byId.size).toBe(7);
    const feature = graph.nodes[ixOf(graph, "0_2_3")];
    expect(feature.kind).toBe("feature");
    const error = graph.nodes[ixOf(graph, "2_-1_3")];
    expect(error).toMatchObject({ kind: "error", row: 2, pos: 3 });
    const { start } = graph.inputs;
    expect(start[feature.ix + 1] - start[feature.ix]).toBe(1);
    expect(start[error.ix + 1] - start[error.ix]).toBe(0);
    expect(graph.diagnostics.map(({ message }) => message)).toEqual([
      "a node of type feature and one of type error have the same node_id; links go to the first in the file",
      "two nodes have the same node_id; links go to the first",
    ]);
  });

  it("leaves an old id alone where nothing collides", () => {
    expect(graph.nodes[ixOf(graph, "0_1_3")]).toMatchObject({ kind: "error", row: 1 });
  });
});

describe("odd files", () => {
  const graph = graphOf(odd());

  it("open, and count what is odd", () => {
    expect(graph.nodes).toHaveLength(5);
    expect(graph.links.weight).toHaveLength(2);
    expect(Object.fromEntries(graph.diagnostics.map(({ message, count }) => [message, count]))).toEqual({
      "a number is written NaN or Infinity and is taken as missing": 1,
      "the feature_type “brand new kind” is not known; drawn as a feature": 1,
      "a link has no finite weight and was left out": 1,
      "a link has an end that is no node of the file and was left out": 2,
    });
  });

  it("keep what is not known", () => {
    expect(graph.raw.top_level_extra).toEqual([1, 2, 3]);
    expect(graph.raw.metadata.unknown_key).toBe("kept");
    expect(graph.raw.nodes[2].extra_key).toEqual({ kept: true });
  });

  it("give a feature of an unknown type no page", () => {
    expect(graph.nodes[1]).toMatchObject({ kind: "feature", index: null });
  });

  it("survive missing keys and things of the wrong type everywhere", () => {
    const nodes = [{}, null, 5, "x", { node_id: 7, layer: "x", ctx_idx: -1, influence: "0.5" }, featureNode(1, 2, 3)];
    const open = graphOf({ nodes, links: [null, {}, { source: 1 }] } as never);
    expect(open.nodes).toHaveLength(3);
    expect(open.nodes[1]).toMatchObject({ id: "7", row: 0, pos: 7, influence: 0.5 });
    expect(open.links.weight).toHaveLength(0);
    expect(graphOf({ nodes: [] } as never).logitRow).toBe(0);
  });

  it("do not take a word in a text for a number", () => {
    const json = toy();
    json.metadata.prompt = 'say "NaN" or -Infinity \\" NaN';
    const text = JSON.stringify(json).replace("1.9", "-Infinity");
    const open = graphOf(text);
    expect(open.prompt).toBe('say "NaN" or -Infinity \\" NaN');
    expect(open.links.weight).toHaveLength(21);
  });

  it("that are no graphs are refused with a sentence", () => {
    expect(() => graphOf("{")).toThrow(NotAGraph);
    expect(() => graphOf("[1]")).toThrow("test is not a graph file: an object is expected at its top.");
    expect(() => graphOf('{"graphs": []}')).toThrow("test is not a graph file: it has no list named nodes.");
  });

  it("with a byte order mark open", () => {
    expect(graphOf(`\ufeff${JSON.stringify(toy())}`).nodes).toHaveLength(15);
  });
});

it("keeps hostile texts as they are", () => {
  const json = hostile();
  const graph = graphOf(json);
  expect(graph.tokens).toEqual(json.metadata.prompt_tokens);
  expect(graph.nodes[0].clerp).toBe(json.nodes[0].clerp);
});

it("reads large files", () => {
  const graph = graphOf(synthetic(2000, 50_000));
  expect(graph.nodes).toHaveLength(2000);
  expect(graph.links.weight).toHaveLength(50_000);
  expect(graph.diagnostics).toEqual([]);
});
