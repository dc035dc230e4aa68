// What a change of view costs on the largest graphs that the page is meant for. Bounds are far above what is measured here (a
// few milliseconds on one slow core), so that only a change of kind fails.

import { expect, it } from "vitest";
import { synthetic } from "../../fixtures/generate";
import { connections } from "./connections";
import { shownLabels } from "./labels";
import { search } from "./search";
import { edges, items } from "./subgraph";
import { graphOf } from "./testing";
import { drawnLinks, visible } from "./visible";

/** The median of several runs after a warm-up. */
function median(work: () => unknown): number {
  for (let i = 0; i < 5; i++) work();
  const times = Array.from({ length: 15 }, () => {
    const start = performance.now();
    work();
    return performance.now() - start;
  });
  return times.sort((a, b) => a - b)[7];
}

it("5 000 nodes and 100 000 links", () => {
  const graph = graphOf(synthetic(5000, 100_000));
  const shown = visible(graph, null, []);
  const busiest = graph.nodes.reduce((best, { ix }) => {
    const degree = (n: number) => graph.inputs.start[n + 1] - graph.inputs.start[n];
    return degree(ix) > degree(best) ? ix : best;
  }, 0);
  const pinned = new Set(graph.nodes.slice(0, 200).map(({ ix }) => ix));
  const labels = shownLabels(graph, new Map());
  const view = { pinned: [...pinned].map((ix) => graph.nodes[ix].id), supernodes: [] };
  const boxes = items(graph, view, labels);
  const context = { graph, labels, view: { hidden: new Set<string>() }, pinned, supernodeOf: new Map() };

  const times = {
    visible: median(() => visible(graph, 0.65, [])),
    drawnSelected: median(() => drawnLinks(graph, shown, [busiest], pinned, "both")),
    drawnPinned: median(() => drawnLinks(graph, shown, [], pinned, "either")),
    connections: median(() => connections(graph, shown, [busiest])),
    edges: median(() => edges(graph, shown, boxes)),
    labels: median(() => shownLabels(graph, new Map([["43", "x"]]))),
    search: median(() => search("label:out3 type:logit", context)),
  };
  console.info(
    Object.entries(times)
      .map(([name, ms]) => `${name} ${ms.toFixed(2)} ms`)
      .join(", "),
  );
  for (const [name, ms] of Object.entries(times)) expect(ms, name).toBeLessThan(50);
});
