// How much of a large graph a change of view reads. The tests count reads of the graph's columns, which is the same on every
// machine; how long that takes is measured by `cargo xtask bench --page`.

import { expect, it } from "vitest";
import { synthetic } from "../../fixtures/generate";
import { connections } from "./connections";
import { shownLabels } from "./labels";
import { search } from "./search";
import { edges, items } from "./subgraph";
import { graphOf } from "./testing";
import type { Graph } from "./types";
import { drawnLinks, visible } from "./visible";

const NODES = 5_000;
const LINKS = 100_000;

/** A copy of the graph that counts how often an element of its columns and of its list of nodes is read. */
function counting(graph: Graph): {
  readonly graph: Graph;
  readonly reads: (work: () => unknown) => { links: number; nodes: number };
} {
  const read = { links: 0, nodes: 0 };
  const watched = <T extends object>(list: T, what: keyof typeof read): T =>
    new Proxy(list, {
      get(target, key) {
        if (typeof key === "string" && /^\d/.test(key)) read[what]++;
        const value = Reflect.get(target, key, target);
        // Methods of a typed array refuse a proxy, and a method that reads the elements by itself must not escape the count.
        if (typeof value !== "function") return value;
        if (ArrayBuffer.isView(target)) throw new Error(`${String(key)} of a column reads what this test cannot count`);
        return value;
      },
    });
  const { links, inputs, outputs } = graph;
  return {
    graph: {
      ...graph,
      nodes: watched(graph.nodes as object, "nodes") as Graph["nodes"],
      links: {
        source: watched(links.source, "links"),
        target: watched(links.target, "links"),
        weight: watched(links.weight, "links"),
      },
      inputs: { start: inputs.start, link: watched(inputs.link, "links") },
      outputs: { start: outputs.start, link: watched(outputs.link, "links") },
    },
    reads: (work) => {
      read.links = 0;
      read.nodes = 0;
      work();
      return { ...read };
    },
  };
}

const plain = graphOf(synthetic(NODES, LINKS));
const { graph, reads } = counting(plain);
const degree = (n: number) => {
  const of = ({ start }: { start: Uint32Array }) => start[n + 1] - start[n];
  return of(plain.inputs) + of(plain.outputs);
};
const busiest = plain.nodes.reduce((best, { ix }) => (degree(ix) > degree(best) ? ix : best), 0);
const pinned = new Set(plain.nodes.slice(0, 200).map(({ ix }) => ix));
const pinnedDegree = [...pinned].reduce((sum, ix) => sum + degree(ix), 0);
const shown = visible(plain, null, []);

/** Columns that may be read for one link: its place in the adjacency, source, target and weight. */
const PER_LINK = 4;

it("counts reads of columns and of nodes", () => {
  const { source } = graph.links;
  expect(reads(() => source[3] + source[4] + graph.nodes[0].ix)).toEqual({ links: 2, nodes: 1 });
});

it("a new threshold reads every node once and every link a few times", () => {
  const { links, nodes } = reads(() => visible(graph, 0.65, []));
  expect(nodes).toBe(NODES);
  expect(links).toBeGreaterThanOrEqual(LINKS);
  expect(links).toBeLessThanOrEqual(2 * PER_LINK * LINKS);
});

it("a selection reads the links of the selected node and no others", () => {
  const most = 2 * PER_LINK * degree(busiest);
  expect(most).toBeLessThan(LINKS / 10);
  for (const work of [() => drawnLinks(graph, shown, [busiest], pinned, "both"), () => connections(graph, shown, [busiest])]) {
    const { links, nodes } = reads(work);
    expect(links).toBeGreaterThanOrEqual(degree(busiest));
    expect(links).toBeLessThanOrEqual(most);
    expect(nodes).toBe(0);
  }
});

it("pinned nodes read their own links and no others", () => {
  const { links, nodes } = reads(() => drawnLinks(graph, shown, [], pinned, "either"));
  expect(links).toBeGreaterThanOrEqual(pinnedDegree);
  expect(links).toBeLessThanOrEqual(2 * PER_LINK * pinnedDegree);
  expect(nodes).toBe(0);
});

it("edges between boxes read the links of their members and no others", () => {
  const view = { pinned: [...pinned].map((ix) => plain.nodes[ix].id), supernodes: [] };
  const boxes = items(plain, view, shownLabels(plain, new Map()));
  expect(boxes).toHaveLength(200);
  const { links, nodes } = reads(() => edges(graph, shown, boxes));
  expect(links).toBeGreaterThan(0);
  expect(links).toBeLessThanOrEqual(2 * PER_LINK * pinnedDegree);
  expect(nodes).toBe(0);
});

it("labels and search read every node a few times and no link", () => {
  const labels = shownLabels(plain, new Map());
  const context = { graph, labels, view: { hidden: new Set<string>() }, pinned, supernodeOf: new Map() };
  // The first use of a graph makes its index of labels.
  expect(reads(() => shownLabels(graph, new Map([["43", "x"]]))).links).toBe(0);
  for (const work of [() => shownLabels(graph, new Map([["44", "x"]])), () => search("label:out3 type:logit", context)]) {
    const { links, nodes } = reads(work);
    expect(links).toBe(0);
    expect(nodes).toBeGreaterThanOrEqual(NODES);
    expect(nodes).toBeLessThanOrEqual(3 * NODES);
  }
});
