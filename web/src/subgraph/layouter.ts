// Chooses where a layout is computed: at once when it is small, else in a worker, where a newer request replaces an older.

import { byRow, type Layout, type LayoutInput, layOutBoxes } from "./layout";

/** Measured: up to about this many, dagre takes less than 5 ms. */
const AT_ONCE = { boxes: 5, edges: 8 };

export class Layouter {
  #worker: Worker | null = null;
  #id = 0;

  /** Calls `done` once, unless another request comes first. */
  request(input: LayoutInput, done: (layout: Layout) => void): void {
    const id = ++this.#id;
    const small = input.boxes.length <= AT_ONCE.boxes && input.edges.length <= AT_ONCE.edges;
    if (small || typeof Worker === "undefined") {
      done(layOutBoxes(input));
      return;
    }
    this.#worker ??= new Worker(new URL("./layout.worker.ts", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<{ id: number; layout: Layout }>) => {
      if (data.id === this.#id) done(data.layout);
    };
    // Without its worker the page still has places, only plainer ones.
    this.#worker.onerror = () => {
      if (id === this.#id) done(byRow(input));
    };
    this.#worker.postMessage({ id, input });
  }

  dispose(): void {
    this.#id++;
    this.#worker?.terminate();
    this.#worker = null;
  }
}
