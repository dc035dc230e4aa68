// The edges of the subgraph: straight lines beneath the boxes, weakest first, thick where the weight is large.

import { type ReadonlySignal, useComputed } from "@preact/signals";
import type { ItemEdge } from "../core/types";
import { dashNegative, linkScale } from "../linkgraph/colours";
import { signed } from "../panels/text";
import type { Store } from "../store/store";
import { type FanBox, fanOut, type Line } from "./fan";
import { BOX_HEIGHT, BOX_WIDTH } from "./layout";
import type { SubgraphModel } from "./model";

/** Width of an edge of weight 1. */
const FULL_WIDTH = 15;
const THINNEST = 0.6;

export interface DrawnEdge extends Line {
  readonly key: string;
  readonly edge: ItemEdge;
  readonly width: number;
}

export function edgeWidth(weight: number): number {
  return Math.max(THINNEST, FULL_WIDTH * Math.min(1, Math.abs(weight)));
}

/** Edges between boxes that have a place, with their ends, in pixels of the ground. */
export function useDrawnEdges(store: Store, model: SubgraphModel): ReadonlySignal<readonly DrawnEdge[]> {
  return useComputed(() => drawEdges(store, model));
}

export function drawEdges(store: Store, model: SubgraphModel): DrawnEdge[] {
  const items = store.items.value;
  const shown = model.places.shown.value;
  const { width, height } = model.ground.value;
  const boxes: FanBox[] = items.map(({ key }) => {
    const [x, y] = shown.get(key) ?? [Number.NaN, Number.NaN];
    return { x: x * width, y: y * height, width: BOX_WIDTH, height: BOX_HEIGHT };
  });
  const placed = (box: number) => !Number.isNaN(boxes[box]?.x ?? Number.NaN);
  const edges = store.edges.value.filter(({ source, target }) => placed(source) && placed(target));
  const lines = fanOut(
    boxes,
    edges.map(({ source, target, weight }) => ({ source, target, width: edgeWidth(weight) })),
  );
  return edges.map((edge, i) => ({
    ...lines[i],
    key: `${items[edge.source].key}\n${items[edge.target].key}`,
    edge,
    width: edgeWidth(edge.weight),
  }));
}

interface Props {
  readonly store: Store;
  readonly model: SubgraphModel;
}

export function Edges({ store, model }: Props) {
  const drawn = useDrawnEdges(store, model);
  const items = store.items.value;
  const scale = linkScale.value;
  const lit = model.over.value;
  const { width, height } = model.ground.value;
  const touches = ({ source, target }: ItemEdge) => items[source]?.key === lit || items[target]?.key === lit;
  const any = lit !== null && drawn.value.some(({ edge }) => touches(edge));
  return (
    <svg class="sg-edges" width={width} height={height} aria-hidden="true">
      {drawn.value.map(({ key, edge, width: stroke, x1, y1, x2, y2 }) => (
        <line
          key={key}
          x1={x1}
          y1={y1}
          x2={x2}
          y2={y2}
          stroke={scale.colour(edge.weight)}
          stroke-width={stroke}
          stroke-dasharray={dashNegative.value && edge.weight < 0 ? `${4 + stroke} ${3 + stroke}` : undefined}
          opacity={any && !touches(edge) ? 0.15 : 0.8}
        />
      ))}
      {any &&
        drawn.value
          .filter(({ edge }) => touches(edge) && Math.abs(edge.weight) >= 0.003)
          .map(({ key, edge, x1, y1, x2, y2 }) => {
            // Nearer to the other box, where lines lie apart.
            const near = items[edge.source].key === lit ? 0.62 : 0.38;
            return (
              <text key={key} class="sg-weight" x={x1 + (x2 - x1) * near} y={y1 + (y2 - y1) * near}>
                {signed(edge.weight)}
              </text>
            );
          })}
    </svg>
  );
}
