// Ids of views: older names stand for their nodes, unknown ones are said and kept.

import { describe, expect, it } from "vitest";
import { featureNode, toy } from "../../fixtures/generate";
import { resolveIds } from "./ids";
import { graphOf } from "./testing";
import { makeView, NOTHING, readView } from "./view";

/** Two nodes that share the older name `12_345-0`. */
function shared() {
  const graph = toy();
  const nodes = [3, 4].map((position) => ({ ...featureNode(2, 345, position), jsNodeId: "2_345-0" }));
  return graphOf({ ...graph, nodes: [...graph.nodes, ...nodes] }, "toy-sky");
}
const resolve = (params: Record<string, unknown>) => resolveIds(shared(), readView(params).parts);

describe("ids of a view", () => {
  it("stay as they are where every node is there", () => {
    const { parts } = readView({ pinnedIds: "2_345_3,1_7_2", supernodes: [["a", "1_7_2"]], clickedId: "1_7_2" });
    expect(resolveIds(shared(), parts)).toEqual({ parts, problems: [] });
    expect(resolve({}).problems).toEqual([]);
  });

  it("of the older form stand for all nodes that share them", () => {
    const { parts, problems } = resolve({
      pinnedIds: "1_7_2,2_345-0,2_345_4",
      supernodes: [["g", "2_345-0"]],
      clickedId: "2_345-0",
    });
    expect(problems).toEqual([]);
    expect(parts.pinned).toEqual(["1_7_2", "2_345_3", "2_345_4"]);
    expect(parts.supernodes).toEqual([{ label: "g", members: ["2_345_3", "2_345_4"] }]);
    expect(makeView(shared(), parts).selection).toEqual({ node: "2_345_3" });
  });

  it("that no node has are said, at most a few of them, and kept", () => {
    const many = Array.from({ length: 9 }, (_, i) => `9_${i}_9`);
    const { parts, problems } = resolve({
      pinnedIds: ["1_7_2", ...many],
      supernodes: [
        ["here", "1_7_2"],
        ["not, here", "8_8_8", "1_7_4"],
      ],
      clickedId: "Nowhere",
    });
    expect(parts.pinned).toHaveLength(10);
    expect(parts.supernodes?.[1].members).toEqual(["8_8_8", "1_7_4"]);
    expect(problems).toEqual([
      "pinnedIds: 9_0_9, 9_1_9, 9_2_9, 9_3_9, 9_4_9 and 4 more are no nodes of this graph and are not shown.",
      "supernodes, group “not, here”: 8_8_8 is no node of this graph and is not shown.",
      "clickedId: Nowhere is no node and no group of this graph, so nothing is selected.",
    ]);
  });

  it("that were clicked may be groups, as published links shorten them, or nothing", () => {
    const supernodes = [["Countries (2)", "1_7_2"]];
    for (const clickedId of ["s:1_7_2", "Countries (2)", "countries2", "Countr", NOTHING.clicked]) {
      expect(resolve({ supernodes, clickedId }).problems, clickedId).toEqual([]);
    }
    expect(resolve({ supernodes, clickedId: "Co" }).problems).toHaveLength(1);
  });
});
