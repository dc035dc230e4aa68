// A force simulation that lets boxes give way while one is dragged: links pull, boxes repel, rows and positions pull back.
//
// Knows numbers only; the panel tells it where the dragged box is and reads where the others went.

import {
  forceCollide,
  forceLink,
  forceManyBody,
  forceSimulation,
  forceX,
  forceY,
  type Simulation,
  type SimulationNodeDatum,
} from "d3-force";
import { BOX_HEIGHT, BOX_WIDTH, type LayoutEdge } from "./layout";

interface Body extends SimulationNodeDatum {
  x: number;
  y: number;
}

export interface RelaxInput {
  readonly places: readonly (readonly [number, number])[];
  readonly fixed: readonly boolean[];
  readonly edges: readonly LayoutEdge[];
  /** Of the ground, in pixels. */
  readonly width: number;
  readonly height: number;
}

const MARGIN = 24;

export class Relaxation {
  readonly #bodies: Body[];
  readonly #simulation: Simulation<Body, undefined>;

  constructor(
    { places, fixed, edges, width, height }: RelaxInput,
    onTick: (places: readonly (readonly [number, number])[]) => void,
  ) {
    this.#bodies = places.map(([x, y], i) => (fixed[i] ? { x, y, fx: x, fy: y } : { x, y }));
    const home = places.map(([x, y]) => [x, y] as const);
    const links = edges.map(({ source, target, weight }) => ({ source, target, weight }));
    this.#simulation = forceSimulation(this.#bodies)
      .force(
        "link",
        forceLink<Body, (typeof links)[number]>(links)
          .distance(BOX_WIDTH)
          .strength(({ weight }) => Math.min(0.25, Math.abs(weight))),
      )
      .force("repulsion", forceManyBody<Body>().strength(-60).distanceMax(200))
      .force("collision", forceCollide<Body>(Math.hypot(BOX_WIDTH, BOX_HEIGHT) / 2))
      .force("x", forceX<Body>((_, i) => home[i][0]).strength(0.1))
      .force("y", forceY<Body>((_, i) => home[i][1]).strength(0.8))
      .force("walls", () => {
        for (const body of this.#bodies) {
          body.x = Math.min(width - MARGIN, Math.max(MARGIN, body.x));
          body.y = Math.min(height - MARGIN, Math.max(MARGIN, body.y));
        }
      })
      .alphaTarget(0.2)
      .on("tick", () => onTick(this.#bodies.map(({ x, y }) => [x, y])));
  }

  /** The dragged box follows the pointer. */
  hold(box: number, x: number, y: number): void {
    const body = this.#bodies[box];
    body.fx = x;
    body.fy = y;
  }

  stop(): void {
    this.#simulation.stop();
  }
}
