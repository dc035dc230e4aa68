// Reads graph files without stopping the page: large ones in a worker, small ones at once.

import { assemble, type GraphParts, NotAGraph, readGraph } from "../core/read";
import { record } from "../core/timings";
import type { Graph } from "../core/types";

export interface ReadRequest {
  readonly file: Uint8Array;
  readonly slug: string;
}

export type ReadAnswer = { readonly parts: GraphParts } | { readonly refused: boolean; readonly message: string };

/** Below this a worker's start costs more than the reading. */
const SMALL = 256 * 1024;

export type Reader = (file: Uint8Array, slug: string) => Promise<Graph>;

/** Reads a file; takes its buffer away. An abandoned reading cannot be stopped half way, its answer is just not used. */
export const readFile: Reader = async (file, slug) => {
  const start = performance.now();
  const graph = file.byteLength < SMALL || typeof Worker === "undefined" ? readGraph(file, slug) : await inWorker(file, slug);
  record("read", performance.now() - start);
  return graph;
};

function inWorker(file: Uint8Array, slug: string): Promise<Graph> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./read.worker.ts", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<ReadAnswer>) => {
      worker.terminate();
      if ("parts" in data) resolve(assemble(data.parts));
      else reject(data.refused ? new NotAGraph(data.message) : new Error(data.message));
    };
    worker.onerror = (event) => {
      worker.terminate();
      reject(new Error(event.message || "The worker that reads graphs could not run."));
    };
    const request: ReadRequest = { file, slug };
    worker.postMessage(request, [file.buffer as ArrayBuffer]);
  });
}
