// Small helpers that tests share. Not part of the page.

import type { FixtureGraph } from "../../fixtures/generate";
import { readGraph } from "./read";
import type { Graph, NodeIx } from "./types";

export function bytes(json: unknown): Uint8Array {
  return new TextEncoder().encode(typeof json === "string" ? json : JSON.stringify(json));
}

export function graphOf(json: FixtureGraph | string, slug = "test"): Graph {
  return readGraph(bytes(json), slug);
}

export function ixOf(graph: Graph, id: string): NodeIx {
  const ix = graph.byId.get(id);
  if (ix === undefined) throw new Error(`no node ${id}`);
  return ix;
}
