// What a sequence of pins, moves and undos does to where boxes are.

import { beforeEach, describe, expect, it, vi } from "vitest";
import { toy } from "../../fixtures/generate";
import { readGraph } from "../core/read";
import type { Item } from "../core/types";
import { BoxPlaces, type Place, type PlacesInput } from "./places";

const graph = readGraph(new TextEncoder().encode(JSON.stringify(toy())), "toy");
const item = (ix: number): Item => ({ key: `n:${graph.nodes[ix].id}`, label: "", supernode: null, nodes: [ix] });
const items = graph.nodes.map(({ ix }) => item(ix));

function input(list: readonly Item[], byHand: ReadonlyMap<string, Place> = new Map()): PlacesInput {
  const edges = list.slice(1).map((_, i) => ({ source: i, target: i + 1, weight: 0.3 }));
  return { graph, items: list, edges, byHand, width: 800, height: 400, layered: true };
}

describe("boxes", () => {
  let places: BoxPlaces;
  beforeEach(() => {
    // At once, without a worker and without the way there.
    vi.stubGlobal("Worker", undefined);
    vi.stubGlobal("matchMedia", () => ({ matches: true }));
    places = new BoxPlaces();
  });
  const at = (ix: number) => places.shown.value.get(items[ix].key);

  it("are arranged anew as long as none was placed by hand", () => {
    places.arrange(input(items.slice(0, 2)));
    const before = at(0);
    places.arrange(input(items.slice(0, 5)));
    expect(places.shown.value.size).toBe(5);
    expect(at(0)).not.toEqual(before);
  });

  it("stay once one was placed by hand, whatever comes or goes", () => {
    places.arrange(input(items.slice(0, 3)));
    const second = at(1);
    const byHand = new Map<string, Place>([[items[0].key, [0.1, 0.2]]]);
    places.arrange(input(items.slice(0, 3), byHand));
    expect(at(0)).toEqual([0.1, 0.2]);
    expect(at(1)).toEqual(second);
    places.arrange(input(items.slice(0, 6), byHand));
    expect(at(0)).toEqual([0.1, 0.2]);
    expect(at(1)).toEqual(second);
    expect(places.shown.value.size).toBe(6);
    places.arrange(input(items.slice(0, 2), byHand));
    expect(at(1)).toEqual(second);
    expect(places.shown.value.size).toBe(2);
  });

  it("go back when a move is undone", () => {
    places.arrange(input(items.slice(0, 3)));
    const before = at(0);
    places.override(new Map([[items[0].key, [0.9, 0.9]]]));
    places.arrange(input(items.slice(0, 3), new Map([[items[0].key, [0.9, 0.9]]])));
    expect(at(0)).toEqual([0.9, 0.9]);
    places.arrange(input(items.slice(0, 3)));
    expect(at(0)).toEqual(before);
  });

  it("go back when a drag comes to nothing", () => {
    places.arrange(input(items.slice(0, 3)));
    const before = at(1);
    places.override(new Map([[items[1].key, [0.9, 0.9]]]));
    expect(at(1)).toEqual([0.9, 0.9]);
    places.restore(items.slice(0, 3), new Map());
    expect(at(1)).toEqual(before);
  });

  it("of another graph know nothing of this one", () => {
    places.arrange(input(items.slice(0, 3)));
    places.forget();
    expect(places.shown.value.size).toBe(0);
    places.arrange(input([]));
    expect(places.shown.value.size).toBe(0);
  });
});
