// The state of the subgraph's panel that is nobody else's: its size, places of boxes, camera, which box the keyboard is on.

import { type ReadonlySignal, type Signal, useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { Graph, Item } from "../core/types";
import type { Store } from "../store/store";
import { layers } from "./options";
import { BoxPlaces, type Place } from "./places";
import { Relaxation } from "./relax";

export interface Camera {
  readonly scale: number;
  readonly x: number;
  readonly y: number;
}

export interface SubgraphModel {
  readonly graph: ReadonlySignal<Graph | null>;
  readonly size: Signal<{ readonly width: number; readonly height: number }>;
  readonly places: BoxPlaces;
  /** Pixels of the ground that boxes stand on. */
  readonly ground: ReadonlySignal<{ readonly width: number; readonly height: number }>;
  /** Zoom and move relative to seeing all of the ground. */
  readonly camera: Signal<Camera>;
  /** The box with the keyboard's place, by key. */
  readonly current: Signal<string | null>;
  /** The box under the pointer. */
  readonly over: Signal<string | null>;
  /** The box whose label is being typed. */
  readonly naming: Signal<string | null>;
  /** Whether boxes may still move by themselves: laid out, on their way, or about to be fitted to a panel of another size. */
  readonly busy: ReadonlySignal<boolean>;
  layOutAnew(): void;
}

const RESIZE_REST = 250;

export function useSubgraph(store: Store): SubgraphModel {
  const size = useSignal({ width: 0, height: 0 });
  const camera = useSignal<Camera>({ scale: 1, x: 0, y: 0 });
  const current = useSignal<string | null>(null);
  const over = useSignal<string | null>(null);
  const naming = useSignal<string | null>(null);
  const fitted = useSignal(false);
  const graph = useComputed<Graph | null>(() => (store.graph.value.state === "ready" ? store.graph.value.value : null));
  const places = useMemo(() => new BoxPlaces(), []);
  useEffect(() => () => places.dispose(), [places]);

  // Boxes come and go with their keys; a new label moves nothing.
  const keys = useComputed(() => store.items.value.map(({ key }) => key).join("\n"));
  const slug = useComputed(() => graph.value?.slug ?? null);
  const positions = useComputed(() => store.view.value.positions);
  const sized = useComputed(() => size.value.width > 0 && size.value.height > 0);

  const arrange = (anew: boolean) => {
    const g = graph.peek();
    const { width, height } = size.peek();
    if (g === null || width === 0 || height === 0) return;
    places.arrange(
      {
        graph: g,
        items: store.items.peek(),
        edges: store.edges.peek(),
        byHand: store.view.peek().positions,
        width,
        height,
        layered: layers.value.peek(),
      },
      anew,
    );
  };

  useSignalEffect(() => {
    void slug.value;
    places.forget();
    camera.value = { scale: 1, x: 0, y: 0 };
  });
  useSignalEffect(() => {
    void [slug.value, keys.value, positions.value];
    if (sized.value) arrange(false);
  });
  const first = useMemo(() => ({ layers: layers.value.peek() }), []);
  useSignalEffect(() => {
    const now = layers.value.value;
    if (now === first.layers) return;
    first.layers = now;
    arrange(true);
  });
  // A panel of another shape gets another fit, unless something was placed by hand.
  useSignalEffect(() => {
    void size.value;
    fitted.value = false;
    const timer = setTimeout(() => {
      if (store.items.peek().length > 0 && store.view.peek().positions.size === 0) arrange(true);
      fitted.value = sized.peek();
    }, RESIZE_REST);
    return () => clearTimeout(timer);
  });

  const ground = useComputed(() => ({
    width: size.value.width * places.span.value,
    height: size.value.height * places.span.value,
  }));

  const busy = useComputed(() => !fitted.value || places.busy.value);

  return useMemo(
    () => ({ graph, size, places, ground, camera, current, over, naming, busy, layOutAnew: () => arrange(true) }),
    [],
  );
}

/** Scale at which the ground is seen: all of it fits at camera scale 1. */
export function zoomOf(model: SubgraphModel): number {
  return model.camera.value.scale / model.places.span.value;
}

/** Centre of a box in pixels of the ground. */
export function pixels(model: SubgraphModel, [x, y]: Place): Place {
  const { width, height } = model.ground.value;
  return [x * width, y * height];
}

/** The running simulation of a drag, if boxes give way. */
export function startRelaxation(store: Store, model: SubgraphModel, dragged: Item): Relaxation {
  const items = store.items.peek();
  const { width, height } = model.ground.peek();
  const byHand = store.view.peek().positions;
  const shown = model.places.shown.peek();
  const started = items.map(({ key }) => {
    const [x, y] = shown.get(key) ?? [0.5, 0.5];
    return [x * width, y * height] as const;
  });
  return new Relaxation(
    {
      places: started,
      fixed: items.map(({ key }) => key === dragged.key || byHand.has(key)),
      edges: store.edges.peek(),
      width,
      height,
    },
    (now) => model.places.override(new Map(now.map(([x, y], i): [string, Place] => [items[i].key, [x / width, y / height]]))),
  );
}
