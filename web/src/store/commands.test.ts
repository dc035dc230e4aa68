// What every command makes of a view, and that a command without effect gives the same view back.

import { describe, expect, it } from "vitest";
import { toy } from "../../fixtures/generate";
import { graphOf, ixOf } from "../core/testing";
import type { View } from "../core/types";
import { EMPTY_VIEW } from "../core/view";
import * as commands from "./commands";

const graph = graphOf(toy());
const grouped: View = {
  ...EMPTY_VIEW,
  pinned: ["1_7_2", "1_7_4", "2_3_4", "0_9_2"],
  supernodes: [
    { key: "1", label: "sky", members: ["1_7_2", "1_7_4"] },
    { key: "4", label: "deep", members: ["2_3_4", "0_9_2", "E_900_2"] },
  ],
  positions: new Map<string, readonly [number, number]>([
    ["s:1", [0.1, 0.2]],
    ["s:4", [0.3, 0.4]],
    ["n:4_512_4", [0.5, 0.6]],
  ]),
};

describe("select", () => {
  it("takes what exists and clears for anything else", () => {
    expect(commands.select(graph, grouped, { node: "2_3_4" }).selection).toEqual({ node: "2_3_4" });
    expect(commands.select(graph, grouped, { supernode: "4" }).selection).toEqual({ supernode: "4" });
    expect(commands.select(graph, grouped, { node: "none" })).toBe(grouped);
    const selected = commands.select(graph, grouped, { supernode: "4" });
    expect(commands.select(graph, selected, { supernode: "4" })).toBe(selected);
    expect(commands.select(graph, selected, { supernode: "7" }).selection).toBeNull();
  });
});

describe("togglePin", () => {
  it("pins at the end and unpins", () => {
    const pinned = commands.togglePin(grouped, "4_512_4");
    expect(pinned.pinned).toEqual([...grouped.pinned, "4_512_4"]);
    expect(commands.togglePin(pinned, "4_512_4").pinned).toEqual(grouped.pinned);
  });

  it("takes a member out of its supernode, and dissolves one that would have a single member", () => {
    const view = commands.togglePin(grouped, "2_3_4");
    expect(view.supernodes[1]).toEqual({ key: "4", label: "deep", members: ["0_9_2", "E_900_2"] });
    const alone = commands.togglePin({ ...grouped, selection: { supernode: "1" } }, "1_7_4");
    expect(alone.supernodes.map(({ key }) => key)).toEqual(["4"]);
    expect(alone.selection).toBeNull();
    expect([...alone.positions.keys()]).toEqual(["s:4", "n:4_512_4"]);
    expect(alone.pinned).toContain("1_7_2");
  });
});

describe("group", () => {
  it("makes a supernode of nodes, named after the first, pinned, where the first stood", () => {
    const view = commands.group(graph, grouped, [{ node: "E_88_4" }, { node: "4_512_4" }]);
    expect(view.supernodes.at(-1)).toEqual({ key: "5", label: "Emb: “ so”", members: ["E_88_4", "4_512_4"] });
    expect(view.pinned.slice(-2)).toEqual(["E_88_4", "4_512_4"]);
    expect(view.positions.get("s:5")).toEqual([0.5, 0.6]);
    expect(view.positions.has("n:4_512_4")).toBe(false);
    const unnamed = commands.group(graph, EMPTY_VIEW, [{ node: "2_11_4" }, { node: "0_4_1" }]);
    expect(unnamed.supernodes[0].label).toBe("supernode");
  });

  it("dissolves picked supernodes into the new one, which keeps the label", () => {
    const selected: View = { ...grouped, selection: { supernode: "4" } };
    const view = commands.group(graph, selected, [{ node: "E_88_4" }, { supernode: "4" }, { supernode: "1" }]);
    expect(view.supernodes).toEqual([
      { key: "5", label: "deep", members: ["E_88_4", "2_3_4", "0_9_2", "E_900_2", "1_7_2", "1_7_4"] },
    ]);
    expect(view.selection).toEqual({ supernode: "5" });
    expect(view.positions).toEqual(
      new Map([
        ["n:4_512_4", [0.5, 0.6]],
        ["s:5", [0.3, 0.4]],
      ]),
    );
    // A member that was not pinned stays so; a picked node is pinned.
    expect(view.pinned).toEqual([...grouped.pinned, "E_88_4"]);
  });

  it("moves a member of another supernode", () => {
    const view = commands.group(graph, grouped, [{ node: "2_3_4" }, { node: "4_512_4" }]);
    expect(view.supernodes.map(({ members }) => members)).toEqual([
      ["1_7_2", "1_7_4"],
      ["0_9_2", "E_900_2"],
      ["2_3_4", "4_512_4"],
    ]);
  });

  it("does nothing for less than two nodes or what is one already", () => {
    expect(commands.group(graph, grouped, [])).toBe(grouped);
    expect(commands.group(graph, grouped, [{ node: "2_3_4" }, { node: "2_3_4" }])).toBe(grouped);
    expect(commands.group(graph, grouped, [{ node: "2_3_4" }, { node: "unknown" }])).toBe(grouped);
    expect(commands.group(graph, grouped, [{ supernode: "1" }])).toBe(grouped);
    expect(commands.group(graph, grouped, [{ supernode: "1" }, { node: "1_7_2" }])).toBe(grouped);
  });
});

describe("the others", () => {
  it("ungroup and rename", () => {
    expect(commands.ungroup(grouped, "1").supernodes.map(({ key }) => key)).toEqual(["4"]);
    expect(commands.ungroup(grouped, "1").pinned).toEqual(grouped.pinned);
    expect(commands.ungroup(grouped, "9")).toBe(grouped);
    expect(commands.renameSupernode(grouped, "4", " <b> ").supernodes[1].label).toBe("<b>");
    expect(commands.renameSupernode(grouped, "4", "  ").supernodes[1].label).toBe("supernode");
    expect(commands.renameSupernode(grouped, "4", "deep")).toBe(grouped);
  });

  it("thresholds stay between 0 and 1", () => {
    expect(commands.setPruning(grouped, 7).pruningThreshold).toBe(1);
    expect(commands.setPruning(grouped, -7).pruningThreshold).toBe(0);
    expect(commands.setPruning(grouped, Number.NaN)).toBe(grouped);
    expect(commands.setPruning(grouped, null)).toBe(grouped);
  });

  it("hide, show, move, clear", () => {
    const hidden = commands.toggleHidden(grouped, "2_3_4");
    expect(hidden.hidden).toEqual(new Set(["2_3_4"]));
    expect(commands.toggleHidden(hidden, "2_3_4").hidden.size).toBe(0);
    expect(commands.moveItem(grouped, "s:1", 0.1, 0.2)).toBe(grouped);
    expect(commands.moveItem(grouped, "s:1", Number.NaN, 0.2)).toBe(grouped);
    expect(commands.moveItem(grouped, "s:1", 0.9, 0.2).positions.get("s:1")).toEqual([0.9, 0.2]);
    expect(grouped.positions.get("s:1")).toEqual([0.1, 0.2]);
    expect(commands.clearPositions(EMPTY_VIEW)).toBe(EMPTY_VIEW);
    expect(commands.clearPins(grouped)).toMatchObject({ pinned: [], supernodes: [] });
    expect(commands.clearPins(EMPTY_VIEW)).toBe(EMPTY_VIEW);
  });

  it("labels that change nothing leave the view alone", () => {
    const view = commands.setLabel(graph, grouped, ixOf(graph, "1_7_2"), "blue");
    expect(view.labels).toEqual(new Map([["43", "blue"]]));
    expect(commands.setLabel(graph, view, ixOf(graph, "1_7_4"), "blue ")).toBe(view);
    expect(commands.setLabel(graph, grouped, ixOf(graph, "1_7_2"), "")).toBe(grouped);
  });
});
