// Where every box of the subgraph is: set by hand (in the view), else by the layout; and the way there.
//
// While nothing was placed by hand, the layout is free to arrange everything anew when a box comes. From the first place set by
// hand on, boxes stay where they are and only new ones are given places.

import { batch, computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { Graph, Item, ItemEdge, NodeIx } from "../core/types";
import { BOX_HEIGHT, BOX_WIDTH, byRow, type Layout, type LayoutBox, type LayoutInput, separate } from "./layout";
import { Layouter } from "./layouter";

export type Place = readonly [number, number];
type Places = ReadonlyMap<string, Place>;

/** Room that a label takes below a box. */
export const LABEL_ROOM = 26;
const TWEEN = 220;

export function layoutBoxes(graph: Graph, items: readonly Item[]): LayoutBox[] {
  return items.map(({ nodes }) => {
    const mean = (of: (ix: NodeIx) => number) => nodes.reduce((sum, ix) => sum + of(ix), 0) / nodes.length;
    return {
      width: BOX_WIDTH,
      height: BOX_HEIGHT,
      row: Math.round(mean((ix) => graph.nodes[ix].row)),
      pos: mean((ix) => graph.nodes[ix].pos),
    };
  });
}

export interface Arrangement {
  readonly items: readonly Item[];
  /** What the layout says of all of them, in shares. */
  readonly laidOut: readonly Place[];
  readonly edges: readonly ItemEdge[];
  /** Places known before, of these items and of ones that are gone. */
  readonly known: Places;
  /** Last place of a box that held a node. */
  readonly ofNode: ReadonlyMap<NodeIx, Place>;
  readonly byHand: Places;
  readonly width: number;
  readonly height: number;
}

/** Places of all items when some must stay: new ones go where their members were, else beside their neighbours. */
export function placeNew({ items, laidOut, edges, known, ofNode, byHand, width, height }: Arrangement): Map<string, Place> {
  const stay = items.map(({ key }) => byHand.get(key) ?? known.get(key) ?? null);
  const places = items.map((item, i): Place => {
    const staying = stay[i];
    if (staying !== null) return staying;
    const before = item.nodes.map((ix) => ofNode.get(ix)).filter((place) => place !== undefined);
    if (before.length > 0) {
      return [
        before.reduce((sum, [x]) => sum + x, 0) / before.length,
        before.reduce((sum, [, y]) => sum + y, 0) / before.length,
      ];
    }
    // The layout's place, moved as its neighbours have been moved from theirs.
    let weight = 0;
    let dx = 0;
    let dy = 0;
    for (const edge of edges) {
      const other = edge.source === i ? edge.target : edge.target === i ? edge.source : -1;
      const at = other < 0 ? null : stay[other];
      if (at === null) continue;
      const w = Math.abs(edge.weight);
      weight += w;
      dx += w * (at[0] - laidOut[other][0]);
      dy += w * (at[1] - laidOut[other][1]);
    }
    const [x, y] = laidOut[i];
    return weight > 0 ? [x + dx / weight, y + dy / weight] : [x, y];
  });
  const inside = (value: number) => Math.min(0.97, Math.max(0.03, value));
  const apart = separate(
    places.map(([x, y], i) => (stay[i] === null ? [inside(x) * width, inside(y) * height] : [x * width, y * height])),
    items.map(() => ({ width: BOX_WIDTH, height: BOX_HEIGHT + LABEL_ROOM })),
    (i) => stay[i] !== null,
  );
  return new Map(
    items.map(({ key }, i): [string, Place] => [key, stay[i] ?? [inside(apart[i][0] / width), inside(apart[i][1] / height)]]),
  );
}

export interface PlacesInput {
  readonly graph: Graph;
  readonly items: readonly Item[];
  readonly edges: readonly ItemEdge[];
  readonly byHand: Places;
  readonly width: number;
  readonly height: number;
  /** Whether new boxes are laid out in layers, or by row and position alone. */
  readonly layered: boolean;
}

function reducedMotion(): boolean {
  return typeof matchMedia === "function" && matchMedia("(prefers-reduced-motion: reduce)").matches;
}

export class BoxPlaces {
  readonly #shown: Signal<Places> = signal(new Map());
  readonly #span: Signal<number> = signal(1);
  readonly #layouter = new Layouter();
  /** What the layout gave, also of boxes that stand elsewhere by hand, so that undoing a move leads back to it. */
  #given: Places = new Map();
  #ofNode = new Map<NodeIx, Place>();
  #frame = 0;
  readonly #asked: Signal<boolean> = signal(false);
  readonly #gliding: Signal<boolean> = signal(false);
  /** Whether boxes are still to be laid out or on the way to their places. */
  readonly busy: ReadonlySignal<boolean> = computed(() => this.#asked.value || this.#gliding.value);

  /** Places to draw, in shares. */
  get shown(): ReadonlySignal<Places> {
    return this.#shown;
  }

  /** How many times as large as the panel the ground is. */
  get span(): ReadonlySignal<number> {
    return this.#span;
  }

  dispose(): void {
    this.#layouter.dispose();
    this.#halt();
  }

  #halt(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#gliding.value = false;
  }

  /** Another graph: nothing that was known of boxes is of use. */
  forget(): void {
    this.#given = new Map();
    this.#ofNode = new Map();
    this.#halt();
    batch(() => {
      this.#shown.value = new Map();
      this.#span.value = 1;
    });
  }

  /** Gives every item a place; `anew` also those that the layout placed before. */
  arrange(input: PlacesInput, anew = false): void {
    const { graph, items, edges, byHand, width, height } = input;
    const known = this.#given;
    const missing = items.some(({ key }) => !known.has(key) && !byHand.has(key));
    const free = !items.some(({ key }) => byHand.has(key));
    const gone = free && items.length !== known.size;
    if (items.length === 0 || !(missing || gone || anew)) {
      this.#settle(input, known, true);
      return;
    }
    const request: LayoutInput = { boxes: layoutBoxes(graph, items), edges, width, height };
    const apply = ({ places: laidOut, span }: Layout, animate: boolean) => {
      const given: Places =
        free || anew
          ? new Map(items.map(({ key }, i): [string, Place] => [key, laidOut[i]]))
          : new Map([...known, ...placeNew({ items, laidOut, edges, known, ofNode: this.#ofNode, byHand, width, height })]);
      if (free) this.#span.value = span;
      this.#settle(input, given, animate);
    };
    if (!input.layered) {
      apply(byRow(request), true);
      return;
    }
    let answered = false;
    this.#layouter.request(request, (layout) => {
      answered = true;
      this.#asked.value = false;
      apply(layout, true);
    });
    // While the worker is busy, what is new must be somewhere.
    if (!answered) {
      this.#asked.value = true;
      const rough = byRow(request);
      const now = items.map(({ key }, i): [string, Place] => [key, byHand.get(key) ?? known.get(key) ?? rough.places[i]]);
      this.#show(new Map(now), false);
    }
  }

  /** Boxes on their way while something is dragged; the view and the layout know nothing of it yet. */
  override(places: Places): void {
    this.#halt();
    this.#shown.value = new Map([...this.#shown.peek(), ...places]);
  }

  /** Where boxes have been pushed to counts as given by the layout. */
  keep(places: Places): void {
    this.#given = new Map([...this.#given, ...places]);
  }

  /** Back to where the view and the layout have them. */
  restore(items: readonly Item[], byHand: Places): void {
    this.#settle({ items, byHand }, this.#given, true);
  }

  #settle({ items, byHand }: Pick<PlacesInput, "items" | "byHand">, given: Places, animate: boolean): void {
    this.#given = given;
    const places = new Map<string, Place>();
    for (const { key, nodes } of items) {
      const place = byHand.get(key) ?? given.get(key);
      if (place === undefined) continue;
      places.set(key, place);
      for (const ix of nodes) this.#ofNode.set(ix, place);
    }
    this.#show(places, animate);
  }

  #show(places: Places, animate: boolean): void {
    this.#halt();
    const from = this.#shown.peek();
    const moves = [...places].some(([key, [x, y]]) => {
      const before = from.get(key);
      return before !== undefined && (before[0] !== x || before[1] !== y);
    });
    if (!animate || !moves || reducedMotion() || typeof requestAnimationFrame !== "function") {
      this.#shown.value = places;
      return;
    }
    const start = performance.now();
    const step = (now: number) => {
      const t = Math.min(1, Math.max(0, (now - start) / TWEEN));
      const eased = 1 - (1 - t) ** 3;
      this.#shown.value = new Map(
        [...places].map(([key, [x, y]]): [string, Place] => {
          const [fx, fy] = from.get(key) ?? [x, y];
          return [key, [fx + (x - fx) * eased, fy + (y - fy) * eased]];
        }),
      );
      this.#frame = t < 1 ? requestAnimationFrame(step) : 0;
      this.#gliding.value = t < 1;
    };
    step(start);
  }
}
