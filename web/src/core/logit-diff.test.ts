// The difference of two logits: its inputs are the differences of theirs, and it never reaches a file.

import { expect, it } from "vitest";
import { toy } from "../../fixtures/generate";
import { connections } from "./connections";
import { LOGIT_DIFF_ID, withLogitDiff } from "./logit-diff";
import { graphOf, ixOf } from "./testing";
import { EMPTY_VIEW, withView } from "./view";
import { visible } from "./visible";

it("adds one node whose inputs are the differences", () => {
  const graph = withLogitDiff(graphOf(toy()), " blue__vs__clear");
  const ix = ixOf(graph, LOGIT_DIFF_ID);
  expect(graph.nodes[ix]).toMatchObject({ kind: "logit", row: 3, pos: 4, clerp: "Logit diff:  blue − clear", feature: null });
  const { inputs, outputs } = connections(graph, visible(graph, null, []), [ix]);
  expect(outputs).toEqual([]);
  const found = new Map(inputs.map(({ node, weight }) => [graph.nodes[node].id, weight]));
  expect([...found.keys()].sort()).toEqual(["1_7_2", "2_-1_4", "2_11_4", "2_3_4"]);
  expect(found.get("2_3_4")).toBeCloseTo(1.9 - 0.2, 12);
  expect(found.get("2_11_4")).toBeCloseTo(-0.3 - 0.9, 12);
  expect(found.get("1_7_2")).toBeCloseTo(0.7, 12);
  expect(found.get("2_-1_4")).toBeCloseTo(-0.4, 12);
  const file = toy() as Record<string, unknown>;
  expect(withView(graph, EMPTY_VIEW, file).nodes).toEqual(file.nodes);
});

it.each(["", "blue", " blue__vs__", " blue__vs__red", " blue__vs__ blue", " blue__vs__ clear__vs__x"])(
  "ignores %j",
  (asked) => {
    const graph = graphOf(toy());
    expect(withLogitDiff(graph, asked)).toBe(graph);
  },
);
