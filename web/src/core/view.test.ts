// Views in every form that was ever written come out the same, and what is written is typed and complete.

import { describe, expect, it } from "vitest";
import { legacy, odd, toy } from "../../fixtures/generate";
import python from "../../fixtures/graphs/python-llama-plt-skip.json";
import { parseJson, readGraph } from "./read";
import { bytes, graphOf } from "./testing";
import type { View } from "./types";
import { EMPTY_VIEW, makeView, overlay, readView, sameView, withView, writeAddress, writeParams, writeView } from "./view";

const typed = {
  pinnedIds: ["4_512_4", "2_3_4", "1_7_2", "1_7_4"],
  supernodes: [
    ["sky", "1_7_2", "1_7_4"],
    ["sky", "2_3_4", "gone_0_0"],
  ],
  linkType: "either",
  clickedId: "2_3_4",
  pruningThreshold: 0.63,
  clerps: [
    ["43", "blue things, “quoted” & more"],
    ["2_3_4", "one place"],
  ],
  hiddenIds: ["1_-1_4"],
};
const stringified = {
  pinnedIds: "4_512_4,2_3_4,1_7_2,1_7_4",
  supernodes: JSON.stringify(typed.supernodes),
  linkType: "either",
  clickedId: "2_3_4",
  pruningThreshold: "0.63",
  clerps: JSON.stringify(typed.clerps),
  hiddenIds: "1_-1_4",
};

describe("reading", () => {
  const graph = graphOf(toy());

  it("gives the same view for typed and stringified parameters", () => {
    const a = readView(typed);
    const b = readView(stringified);
    expect(a.problems).toEqual([]);
    expect(b).toEqual(a);
    expect(makeView(graph, b.parts)).toEqual(makeView(graph, a.parts));
    expect(makeView(graph, a.parts)).toEqual({
      pinned: typed.pinnedIds,
      supernodes: [
        { key: "1", label: "sky", members: ["1_7_2", "1_7_4"] },
        { key: "2", label: "sky", members: ["2_3_4", "gone_0_0"] },
      ],
      selection: { node: "2_3_4" },
      linkType: "either",
      pruningThreshold: 0.63,
      labels: new Map([
        ["43", "blue things, “quoted” & more"],
        ["2_3_4", "one place"],
      ]),
      positions: new Map(),
      hidden: new Set(["1_-1_4"]),
    });
  });

  it.each([null, "", "null", "undefined", undefined])("takes %j for absent", (nothing) => {
    const params = Object.fromEntries(Object.keys(typed).map((key) => [key, nothing]));
    const { parts, problems } = readView(params);
    expect(problems).toEqual([]);
    expect(makeView(graph, parts)).toEqual(EMPTY_VIEW);
  });

  it("never lets one unreadable parameter block another", () => {
    const { parts, problems } = readView({
      ...stringified,
      supernodes: "[[1,",
      linkType: "sideways",
      pruningThreshold: "much",
      clerps: "{}",
    });
    expect(problems).toEqual([
      "supernodes cannot be read and is left out: it is not JSON.",
      "linkType cannot be read and is left out: input, output, either or both is expected.",
      "pruningThreshold cannot be read and is left out: a number from 0 to 1 is expected.",
      "clerps cannot be read and is left out: a list of pairs of key and label is expected.",
    ]);
    expect(parts.pinned).toEqual(typed.pinnedIds);
    expect(parts.hidden).toEqual(typed.hiddenIds);
    expect(parts.supernodes).toBeUndefined();
  });

  it("leaves out entries that are none, and keeps the others", () => {
    const { parts, problems } = readView({
      supernodes: ["x", ["a", "1_7_2", 5, null], [null, "b"], ["empty"]],
      clerps: [["1", "one"], ["2"], 3, [4, "four"]],
      pinnedIds: ["a", "a", 7, {}],
    });
    expect(parts.supernodes).toEqual([{ label: "a", members: ["1_7_2", "5"] }]);
    expect(parts.labels).toEqual([
      ["1", "one"],
      ["4", "four"],
    ]);
    expect(parts.pinned).toEqual(["a", "7"]);
    expect(problems).toHaveLength(4);
  });

  it("finds what a mangled supernode label meant, and nothing for rubbish", () => {
    const supernodes = [
      ["language", "1_7_2"],
      ["languages / demonyms", "1_7_4"],
      ["play/games", "2_3_4"],
    ];
    const select = (clickedId: string) => makeView(graph, readView({ supernodes, clickedId }).parts).selection;
    expect(select("languagedemonyms")).toBeNull();
    expect(select("languagesdemonyms")).toEqual({ supernode: "2" });
    expect(select("play/ga")).toEqual({ supernode: "3" });
    expect(select("2_3_4)")).toEqual({ node: "2_3_4" });
    expect(select("-")).toBeNull();
    expect(select("9_9_9")).toBeNull();
  });

  it("reads hidden feature ids, whose middle is the feature number", () => {
    expect(makeView(graph, readView({ hiddenIds: "1_43_2,1_7_4" }).parts).hidden).toEqual(new Set(["1_7_2", "1_7_4"]));
  });

  it("restores what the reference page cannot: supernodes and threshold of a saved file", () => {
    const old = graphOf(legacy());
    const fromFile = readView(old.raw.qParams).parts;
    const view = makeView(old, overlay(readView({}).parts, fromFile));
    expect(view.supernodes).toEqual([{ key: "1", label: "late", members: ["23_8855_2", "11_15631_1"] }]);
    expect(view.pruningThreshold).toBe(0.63);
    expect(view.linkType).toBe("both");
  });

  it("lets the address rule over the file, key by key", () => {
    const parts = overlay(readView({ pruningThreshold: "0.2", supernodes: "[]" }).parts, readView(typed).parts);
    const view = makeView(graph, parts);
    expect(view.pruningThreshold).toBe(0.2);
    expect(view.supernodes).toEqual([]);
    expect(view.pinned).toEqual(typed.pinnedIds);
  });
});

describe("places", () => {
  const graph = graphOf(toy());
  const view = makeView(graph, readView(typed).parts);
  const placed: View = {
    ...view,
    positions: new Map<string, readonly [number, number]>([
      ["n:4_512_4", [0.5, 0.1]],
      ["s:1", [0.25, 0.75]],
      ["s:2", [0.125, 0.5]],
    ]),
  };

  it("survive writing and reading, whatever keys supernodes get then", () => {
    const again = makeView(graph, readView(writeView(graph, placed)).parts);
    expect(again).toEqual(placed);
    const fewer = { ...writeView(graph, placed), supernodes: [["sky", "2_3_4"]] };
    expect(makeView(graph, readView(fewer).parts).positions).toEqual(
      new Map([
        ["n:4_512_4", [0.5, 0.1]],
        ["s:1", [0.125, 0.5]],
      ]),
    );
  });

  it("are written in the old form too, and read from it", () => {
    const written = writeView(graph, placed);
    // Sorted characters of the feature numbers: " ,3,3,4,4" of "43 43", "1,2,5" of 512, "1,8" of 18.
    expect(written.sg_pos).toBe("250 750 500 100 125 500");
    const { positions: _, ...old } = written;
    expect(makeView(graph, readView(old).parts).positions).toEqual(placed.positions);
  });

  it("of another number of boxes are ignored", () => {
    expect(makeView(graph, readView({ ...typed, sg_pos: "1 2 3 4" }).parts).positions.size).toBe(0);
    expect(readView({ sg_pos: "1 x" }).problems).toHaveLength(1);
  });
});

describe("writing", () => {
  it("is typed and keeps the file's other keys", () => {
    const graph = graphOf(odd());
    const view = makeView(graph, readView(graph.raw.qParams).parts);
    expect(writeView(graph, view)).toEqual({
      gridsnap: "link-graph00000808",
      somethingNew: [1, 2],
      pinnedIds: ["1_2_1", "not-there"],
      supernodes: [],
      linkType: "both",
      clickedId: "",
      sg_pos: "",
      pruningThreshold: null,
      clerps: [],
      hiddenIds: [],
      positions: {},
    });
  });

  it("gives a file back equal but for its view", () => {
    for (const json of [
      python as unknown as Record<string, unknown>,
      toy() as Record<string, unknown>,
      parseJson(odd()).value as never,
    ]) {
      const graph = readGraph(bytes(json), "x");
      const { qParams, ...rest } = withView(graph, makeView(graph, readView(graph.raw.qParams).parts), json);
      const { qParams: _, ...before } = json;
      expect(rest).toEqual(before);
      expect(typeof qParams).toBe("object");
    }
  });

  it("puts labels into the nodes they mean", () => {
    const json = toy();
    const graph = graphOf(json);
    const file = withView(graph, { ...EMPTY_VIEW, labels: new Map([["43", "everywhere"]]) }, json as never);
    expect((file.nodes as { clerp: string }[]).filter(({ clerp }) => clerp === "everywhere")).toHaveLength(2);
  });

  it("says in the address what the file has and the view has not", () => {
    const graph = graphOf(toy());
    const saved = makeView(graph, readView(typed).parts);
    expect(writeParams(graph, EMPTY_VIEW)).toEqual([]);
    const asked = Object.fromEntries(writeAddress(graph, EMPTY_VIEW, saved));
    const back = makeView(graph, overlay(readView(asked).parts, readView(typed).parts));
    expect(sameView(graph, back, { ...EMPTY_VIEW, pruningThreshold: 1 })).toBe(true);
    expect(back.selection).toBeNull();
    expect(writeAddress(graph, EMPTY_VIEW, EMPTY_VIEW)).toEqual([]);
  });

  it("compares views by what they say", () => {
    const graph = graphOf(toy());
    const a = makeView(graph, readView(typed).parts);
    const b = makeView(graph, readView(stringified).parts);
    expect(sameView(graph, a, { ...b, selection: null })).toBe(true);
    expect(sameView(graph, a, { ...b, pinned: b.pinned.slice(1) })).toBe(false);
    expect(sameView(graph, a, { ...b, positions: new Map([["n:2_3_4", [0.1, 0.2]]]) })).toBe(false);
  });
});
