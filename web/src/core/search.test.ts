// What the search field finds.

import { expect, it } from "vitest";
import { toy } from "../../fixtures/generate";
import { shownLabels } from "./labels";
import { search } from "./search";
import { graphOf, ixOf } from "./testing";

const graph = graphOf(toy());
const context = {
  graph,
  labels: shownLabels(graph, new Map([["43", "the colour Blue"]])),
  view: { hidden: new Set(["0_4_1"]) },
  pinned: new Set([ixOf(graph, "2_3_4")]),
  supernodeOf: new Map([[ixOf(graph, "1_7_2"), "1"]]),
};
const find = (text: string) => {
  const hits = search(text, context);
  return hits === null ? null : graph.nodes.filter(({ ix }) => hits[ix] === 1).map(({ id }) => id);
};

it.each([
  ["BLUE", ["1_7_2", "1_7_4", "4_512_4"]],
  ["colour blue", ["1_7_2", "1_7_4"]],
  ['"the colour"', ["1_7_2", "1_7_4"]],
  ['"colour the"', []],
  ["label:blue", ["1_7_2", "1_7_4", "4_512_4"]],
  ["label:blue -type:logit", ["1_7_2", "1_7_4"]],
  ["sky", ["0_9_2", "1_7_2", "E_900_2"]],
  ["token:sky type:feature", ["0_9_2", "1_7_2"]],
  ['token:" so"', ["1_7_4", "2_3_4", "2_11_4", "1_-1_4", "2_-1_4", "E_88_4"]],
  ["layer:2", ["2_3_4", "2_11_4", "2_-1_4"]],
  ["layer:0-1 type:feature", ["0_4_1", "0_9_2", "1_7_2", "1_7_4"]],
  ["layer:>1", ["2_3_4", "2_11_4", "2_-1_4"]],
  ["layer:emb pos:<2", ["E_2_0", "E_101_1"]],
  ["layer:logit", ["4_512_4", "4_513_4"]],
  ["layer:x", []],
  ["pos:0", ["E_2_0"]],
  ["type:error", ["1_-1_4", "2_-1_4"]],
  ["act:>3", ["1_7_2", "2_3_4"]],
  ["act:>=1.5 act:<=2.5", ["0_9_2", "1_7_4"]],
  ["influence:<0.2", ["1_7_2", "2_3_4"]],
  ["prob:>0.5", ["4_512_4"]],
  ["id:1_7_2", ["1_7_2"]],
  ["43", ["1_7_2", "1_7_4"]],
  ["is:pinned", ["2_3_4"]],
  ["is:hidden", ["0_4_1"]],
  ["is:grouped", ["1_7_2"]],
  ["is:anything", []],
  ["foo:bar", []],
  ["<script>", []],
])("%s", (text, expected) => {
  expect(find(text)).toEqual(expected);
});

it("is no search when nothing is asked", () => {
  expect(find("")).toBeNull();
  expect(find("   ")).toBeNull();
});
