// Every published link opens with its pins, groups and labels, whatever clings to it; written links read back the same.

import { describe, expect, it } from "vitest";
import { toy } from "../../fixtures/generate";
import text from "../../fixtures/graph_links.txt?raw";
import { circuitTracerLink, encodeQuery, linkFeatures, neuronpediaLink, parseLink, pythonProblems, query } from "./links";
import { graphOf } from "./testing";
import { makeView, readView } from "./view";

const published = text.trim().split("\n");

describe("published links", () => {
  /** Python's way: the standard library for the query, then JSON up to the last bracket. */
  function plainly(line: string) {
    const params = new URLSearchParams(line.slice(line.indexOf("?")));
    const list = (key: string): unknown[] => {
      const text = params.get(key) ?? "";
      return text === "" ? [] : JSON.parse(text.slice(0, text.lastIndexOf("]") + 1));
    };
    return {
      pins: (params.get("pinnedIds") ?? "").split(",").filter((id) => id !== ""),
      groups: list("supernodes") as string[][],
      labels: list("clerps") as [string, string][],
    };
  }

  it.each(published.map((line, i) => [i + 1, line]))("line %i", (_, line) => {
    const link = parseLink(line as string);
    const plain = plainly(line as string);
    expect(link.problems).toEqual([]);
    expect(link.form).toBe("neuronpedia");
    expect(link.model).toBe((line as string).split("/")[3]);
    expect(link.slug).toMatch(/^[A-Za-z0-9_-]+$/);
    expect(link.parts.pinned ?? []).toEqual([...new Set(plain.pins)]);
    expect((link.parts.supernodes ?? []).map(({ label, members }) => [label, ...members])).toEqual(
      plain.groups.map(([label, ...members]) => [label, ...new Set(members)]),
    );
    expect(link.parts.labels ?? []).toEqual(plain.labels.map(([key, label]) => [String(key), label]));

    // Every group is found, under its label or with a number behind it; members as (layer, position, index).
    const { groups, singles } = linkFeatures(link);
    expect(groups.size).toBe(plain.groups.length);
    const seen = new Map<string, number>();
    for (const [label, ...members] of plain.groups) {
      const n = (seen.get(label) ?? 0) + 1;
      seen.set(label, n);
      const found = groups.get(n === 1 ? label : `${label} (${n})`);
      const distinct = [...new Set(members)].filter((id) => /^(\d+|E)_\d+_\d+$/.test(id));
      expect(found?.map(({ layer, index, position }) => `${layer < 0 ? "E" : layer}_${index}_${position}`)).toEqual(distinct);
    }
    // One published link pins `D25_5604_7`, which is no place.
    expect(singles).toHaveLength([...new Set(plain.pins)].filter((id) => id !== "D25_5604_7").length);
  });

  it("hold what was counted over them", () => {
    const links = published.map(parseLink);
    expect(links).toHaveLength(78);
    expect(Math.max(...links.map(({ parts }) => parts.pinned?.length ?? 0))).toBe(198);
    const repeated = links.filter(({ parts }) => {
      const labels = (parts.supernodes ?? []).map(({ label }) => label);
      return new Set(labels).size < labels.length;
    });
    expect(repeated.length).toBeGreaterThanOrEqual(28);
    for (const link of repeated) {
      expect([...linkFeatures(link).groups.keys()].some((name) => name.endsWith(" (2)"))).toBe(true);
    }
  });

  it("keep the slug, the threshold and what was clicked apart from a sentence's full stop and bracket", () => {
    const texts = published.map((line) => parseLink(line).parts.clicked).filter((text) => text !== undefined);
    expect(texts.filter((text) => /[),.]$/.test(text) && !text.includes("("))).toEqual([]);
    expect(texts).toContain("Thailand/SEA (:)");
    const line = published.find((text) => text.includes("gemma-Mexico-Spanish")) as string;
    const link = parseLink(line);
    expect(link.parts).toMatchObject({ pruningThreshold: 0.7, clicked: undefined });
    expect(link.params.get("densityThreshold")).toBe("0.99)");
  });
});

describe("awkward links", () => {
  it.each([
    ["[a graph](https://www.neuronpedia.org/m/graph?slug=s&pinnedIds=1_2_3)", "s"],
    ["<http://127.0.0.1:8041/?slug=s&pinnedIds=1_2_3>", "s"],
    ['<a href="http://localhost/index.html?slug=s&pinnedIds=1_2_3">', "s"],
    ["  ?slug=s&pinnedIds=1_2_3  ", "s"],
    ["http://localhost/?pinnedIds=1_2_3#part", null],
  ])("%s", (text, slug) => {
    const link = parseLink(text);
    expect(link.slug).toBe(slug);
    expect(link.parts.pinned).toEqual(["1_2_3"]);
  });

  it("decode once, and a second time only where the JSON asks for it", () => {
    const groups = [["100% & 25%41 “ü” + #1", "1_2_3"]];
    const once = encodeURIComponent(JSON.stringify(groups));
    for (const text of [once, encodeURIComponent(once)]) {
      expect(parseLink(`?supernodes=${text}`).parts.supernodes).toEqual([{ label: groups[0][0], members: ["1_2_3"] }]);
    }
    expect(parseLink("?pinnedIds=1_2_3%252C4_5_6").parts.pinned).toEqual(["1_2_3", "4_5_6"]);
  });

  it("keep a bare &, # or % in a label", () => {
    const link = parseLink('http://h/?slug=s&supernodes=[["R&D #1 at 5%","1_2_3"]]&pinnedIds=1_2_3');
    expect(link.parts.supernodes).toEqual([{ label: "R&D #1 at 5%", members: ["1_2_3"] }]);
    expect(link.parts.pinned).toEqual(["1_2_3"]);
  });

  it("read + as a space and a broken escape as it is", () => {
    expect(query("?a=x+y%20z&b=%E0%A4%A&c=%41%zz")).toEqual(
      new Map([
        ["a", "x y z"],
        ["b", "%E0%A4%A"],
        ["c", "A%zz"],
      ]),
    );
  });

  it("take tokens in groups", () => {
    const link = parseLink('?supernodes=[["x","E_12_0","1_2_3","lorsa_id","2_-1_3"]]&pinnedIds=E_5_1');
    expect(linkFeatures(link)).toEqual({
      groups: new Map([
        [
          "x",
          [
            { layer: -1, position: 0, index: 12 },
            { layer: 1, position: 3, index: 2 },
            { layer: 2, position: 3, index: -1 },
          ],
        ],
      ]),
      singles: [{ layer: -1, position: 1, index: 5 }],
    });
  });

  it("number labels so that none is lost, even where a number is a label itself", () => {
    const supernodes = [
      { label: "a", members: ["1_1_1"] },
      { label: "a (2)", members: ["2_2_2"] },
      { label: "a", members: ["3_3_3"] },
    ];
    expect([...linkFeatures({ parts: { supernodes } }).groups.keys()]).toEqual(["a", "a (2)", "a (3)"]);
  });

  it.each(["", "nonsense", "http://", "?", "?=&&&=", "?slug=../../etc", "https://h/?supernodes=%5B%5B%5B"])(
    "%j never throws",
    (text) => {
      expect(() => parseLink(text)).not.toThrow();
    },
  );
});

describe("parameters that mean nothing here", () => {
  it("are kept in their order, with those that have no value", () => {
    const link = parseLink(
      "http://h/?embed&slug=s&x=1&pinnedIds=1_2_3&flag&x=2&feature_scatter_x=a%20b%26c&logitDiff=a__vs__b",
    );
    expect(link.slug).toBe("s");
    expect(link.parts.pinned).toEqual(["1_2_3"]);
    expect(link.others).toEqual([
      ["embed", ""],
      ["x", "1"],
      ["flag", ""],
      ["x", "2"],
      ["feature_scatter_x", "a b&c"],
    ]);
    expect(encodeQuery(link.others)).toBe("embed&x=1&flag&x=2&feature_scatter_x=a%20b%26c");
  });

  it("are not made of words of a label", () => {
    const link = parseLink('?supernodes=[["a &b","1_2_3"]]&c');
    expect(link.parts.supernodes?.[0]?.label).toContain("a &b");
  });
});

describe("what Python’s library reads of a link", () => {
  /** Its way: the whole address is decoded, split, and every value decoded once more. */
  function decoded(address: string) {
    const whole = decodeURIComponent(address);
    const text = whole.slice(whole.indexOf("?") + 1).split("#")[0];
    const params = new Map<string, string>();
    for (const piece of text.split("&")) {
      const [key, ...value] = piece.split("=");
      if (value.length > 0 && !params.has(key)) params.set(key, decodeURIComponent(value.join("=").replaceAll("+", " ")));
    }
    return { supernodes: JSON.parse(params.get("supernodes") ?? "[]"), pins: (params.get("pinnedIds") ?? "").split(",") };
  }
  const graph = graphOf(toy(), "toy-sky");
  const viewOf = (params: Record<string, unknown>) => makeView(graph, readView(params).parts);

  it("are the very groups, whatever their labels hold", () => {
    const labels = [
      "R&D #1 + 50%",
      "a=b&pinnedIds=9_9_9",
      "commas, under_scores, da-shes",
      '"“\\n\t',
      "日本 %41",
      "a;b?c/d",
      "x",
      "x",
    ];
    const supernodes = labels.map((label) => [label, "1_7_2", "2_-1_4"]);
    const view = viewOf({ pinnedIds: "1_7_2,E_900_2", supernodes, clerps: [["43", "a & b # c"]] });
    expect(pythonProblems(view)).toEqual([]);
    for (const link of [circuitTracerLink("http://h/", graph, view), neuronpediaLink(graph, view)]) {
      expect(decoded(link)).toEqual({ supernodes, pins: ["1_7_2", "E_900_2"] });
      expect(parseLink(link).parts.supernodes?.map(({ label }) => label)).toEqual(labels);
    }
  });

  it("is said where it cannot be all", () => {
    const view = viewOf({
      pinnedIds: "1_7_2,12_345-0,a_b_c,25_cro_5_1",
      supernodes: [
        ["tokens, too", "E_900_2", "1_7_2"],
        ["a", "1_7_2"],
        ["a", "1_7_4"],
        ["a (2)", "2_3_4"],
      ],
    });
    expect(pythonProblems(view)).toEqual([
      "Python’s circuit-tracer cannot read the link: the group “tokens, too” holds E_900_2.",
      "Python’s circuit-tracer reads one of the 2 groups that it calls “a (2)”.",
      "Python’s circuit-tracer cannot read the link: pinned is a_b_c.",
      "Python’s circuit-tracer leaves out of the pins: 12_345-0, 25_cro_5_1.",
    ]);
  });
});

describe("written links", () => {
  const graph = graphOf(toy(), "toy-sky");
  const view = makeView(
    graph,
    readView({
      pinnedIds: "4_512_4,1_7_2,1_7_4",
      supernodes: [["R&D, 100% “sky” + #", "1_7_2", "1_7_4"]],
      clickedId: "1_7_2",
      clerps: [
        ["43", "blue & green"],
        ["1_7_4", "here"],
        ["E_900_2", "sky token"],
      ],
      pruningThreshold: 0.5,
      linkType: "input",
      hiddenIds: ["1_-1_4"],
    }).parts,
  );

  it("of circuit-tracer's form read back", () => {
    const text = circuitTracerLink("http://127.0.0.1:8041/", graph, view);
    const link = parseLink(text);
    expect(text).toMatch(
      /^http:\/\/127\.0\.0\.1:8041\/\?slug=toy-sky&clickedId=1_7_2&pinnedIds=4_512_4,1_7_2,1_7_4&supernodes=/,
    );
    expect(link).toMatchObject({ form: "circuit-tracer", slug: "toy-sky", problems: [] });
    expect(makeView(graph, link.parts)).toEqual(view);
  });

  it("of Neuronpedia's form read back, with labels by position and the scan made an id", () => {
    const text = neuronpediaLink(graph, view);
    const link = parseLink(text);
    expect(link).toMatchObject({ form: "neuronpedia", model: "fixtures-toy-transcoders", slug: "toy-sky" });
    expect(link.parts.labels).toEqual([
      ["1_43_2", "blue & green"],
      ["1_43_4", "here"],
      ["E_2_2", "sky token"],
    ]);
    const { labels: _, ...rest } = makeView(graph, link.parts);
    const { labels: __, ...before } = view;
    expect(rest).toEqual(before);
  });
});
