// The subgraph as it stands, as a scene to export.

import type { Scene, SceneBox } from "../export/scene";
import { wrap } from "../export/scene";
import { dashNegative, linkScale } from "../linkgraph/colours";
import { endsOf } from "../linkgraph/ends";
import { isOpen } from "../linkgraph/glyphs";
import { ink } from "../linkgraph/tokens";
import type { Store } from "../store/store";
import { colour } from "../styles/theme";
import { itemName, ringStep } from "./box";
import { drawEdges } from "./edges";
import { BOX_HEIGHT, BOX_WIDTH } from "./layout";
import type { SubgraphModel } from "./model";

const FONT_SIZE = 11;
const LABEL_WIDTH = 116;
const PAD = 24;

export function pictureOf(store: Store, model: SubgraphModel): Scene | null {
  const graph = model.graph.peek();
  const items = store.items.peek();
  if (graph === null || items.length === 0) return null;
  const shown = model.places.shown.peek();
  const { width, height } = model.ground.peek();
  const colours = ink.peek();
  const scale = linkScale.peek();
  const ends = endsOf(store.connections.peek());
  const { selection } = store.view.peek();
  const selected = store.selectedNode.peek();
  // A picture has no fallback list to try: the first fonts that any system has.
  const font = "Helvetica, Arial, sans-serif";
  const context = document.createElement("canvas").getContext("2d");
  if (context !== null) context.font = `${FONT_SIZE}px ${font}`;
  const measure = (text: string) => context?.measureText(text).width ?? text.length * 6;

  const boxes: SceneBox[] = [];
  for (const item of items) {
    const place = shown.get(item.key);
    if (place === undefined) continue;
    const x = place[0] * width;
    const y = place[1] * height;
    const whole = selection !== null && "supernode" in selection && selection.supernode === item.supernode;
    boxes.push({
      x: x - BOX_WIDTH / 2,
      y: y - BOX_HEIGHT / 2,
      width: BOX_WIDTH,
      height: BOX_HEIGHT,
      line: whole ? colours.selected : colour("--box-line") || "#8a8371",
      lineWidth: whole ? 2 : 1,
      rings: item.nodes.map((ix, i) => {
        const { kind } = graph.nodes[ix];
        const share = ends.get(ix);
        const own = ix === selected;
        return {
          kind,
          x: x + (i - (item.nodes.length - 1) / 2) * ringStep(item.nodes.length),
          y,
          radius: 5,
          fill: isOpen(kind) ? "none" : share === undefined ? colours.nodeFill : scale.colour(share),
          line: own ? colours.selected : colours.nodeLine,
          lineWidth: own ? 2.25 : 1.25,
        };
      }),
      label: wrap(itemName(graph, item), LABEL_WIDTH, 3, measure),
    });
  }

  // Cut to what is there, with a margin.
  const left = Math.min(...boxes.map((box) => box.x - (LABEL_WIDTH - BOX_WIDTH) / 2)) - PAD;
  const top = Math.min(...boxes.map((box) => box.y)) - PAD;
  const right = Math.max(...boxes.map((box) => box.x + BOX_WIDTH + (LABEL_WIDTH - BOX_WIDTH) / 2)) + PAD;
  const bottom = Math.max(...boxes.map((box) => box.y + BOX_HEIGHT + box.label.length * FONT_SIZE * 1.2)) + PAD;
  return {
    width: right - left,
    height: bottom - top,
    title: `Subgraph: ${graph.prompt}`,
    background: colours.panel,
    box: colour("--box") || "#f7f2e6",
    text: colours.text,
    font,
    fontSize: FONT_SIZE,
    boxes: boxes.map((box) => ({
      ...box,
      x: box.x - left,
      y: box.y - top,
      rings: box.rings.map((ring) => ({ ...ring, x: ring.x - left, y: ring.y - top })),
    })),
    edges: drawEdges(store, model).map(({ edge, x1, y1, x2, y2, width: stroke }) => ({
      x1: x1 - left,
      y1: y1 - top,
      x2: x2 - left,
      y2: y2 - top,
      width: stroke,
      colour: scale.colour(edge.weight),
      dash: dashNegative.peek() && edge.weight < 0 ? [4 + stroke, 3 + stroke] : [],
    })),
  };
}
