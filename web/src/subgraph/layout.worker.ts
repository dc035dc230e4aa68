// Runs the layered layout away from the page, for subgraphs large enough to be felt.

import { type LayoutInput, layOutBoxes } from "./layout";

const scope = self as unknown as DedicatedWorkerGlobalScope;

scope.onmessage = ({ data }: MessageEvent<{ id: number; input: LayoutInput }>) => {
  scope.postMessage({ id: data.id, layout: layOutBoxes(data.input) });
};
