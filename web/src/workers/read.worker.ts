// The worker's side of reading a graph file: bytes in, columns out, all buffers moved rather than copied.

import { NotAGraph, readParts } from "../core/read";
import type { ReadAnswer, ReadRequest } from "./read";

self.onmessage = ({ data }: MessageEvent<ReadRequest>) => {
  let answer: ReadAnswer;
  const moved: Transferable[] = [];
  try {
    const parts = readParts(data.file, data.slug);
    const { links, inputs, outputs, file } = parts;
    for (const column of [
      links.source,
      links.target,
      links.weight,
      inputs.start,
      inputs.link,
      outputs.start,
      outputs.link,
      file,
    ]) {
      moved.push(column.buffer as ArrayBuffer);
    }
    answer = { parts };
  } catch (error) {
    answer = { refused: error instanceof NotAGraph, message: error instanceof Error ? error.message : String(error) };
  }
  (self as unknown as Worker).postMessage(answer, moved);
};
