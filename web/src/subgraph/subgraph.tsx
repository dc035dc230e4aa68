// The subgraph: pinned nodes and supernodes as boxes that a user arranges, groups and names, with the weights between them.

import "./subgraph.css";

import { useComputed } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { MAX_PINS_SHOWN } from "../core/subgraph";
import { saveBlob, saveText } from "../export/save";
import { sceneToPng, sceneToSvg } from "../export/scene";
import { endsOf } from "../linkgraph/ends";
import { type Direction, neighbour } from "../linkgraph/navigate";
import { count } from "../panels/text";
import type { Store } from "../store/store";
import { Box } from "./box";
import { type DragHandlers, useDrag } from "./drag";
import { Edges } from "./edges";
import { type SubgraphModel, useSubgraph, zoomOf } from "./model";
import { layers, relax, sticky } from "./options";
import { pictureOf } from "./picture";

const MIN_SCALE = 0.5;
const MAX_SCALE = 6;

export function Subgraph({ store }: { store: Store }) {
  const model = useSubgraph(store);
  return (
    <div class="sg">
      <Controls store={store} model={model} />
      <Viewport store={store} model={model} />
    </div>
  );
}

interface Props {
  readonly store: Store;
  readonly model: SubgraphModel;
}

function Controls({ store, model }: Props) {
  const graph = model.graph.value;
  const { on, picked } = store.grouping.value;
  const selected = store.selectedNode.value;
  const pinned = selected !== null && store.pinnedSet.value.has(selected);
  const items = store.items.value;
  const none = items.length === 0;
  const pins = store.view.value.pinned.length;
  const name = graph?.slug ?? "subgraph";
  return (
    <div class="sg-strip" role="toolbar" aria-label="Subgraph">
      {on ? (
        <>
          <button
            type="button"
            class="lg-button"
            aria-pressed={true}
            onClick={() => store.endGrouping()}
            title="Or press Esc to cancel"
          >
            Grouping: {count(picked.length)} picked
          </button>
          <button type="button" class="lg-button" disabled={picked.length < 2} onClick={() => store.endGrouping()}>
            Save group
          </button>
          <button type="button" class="lg-button" onClick={() => store.endGrouping(true)}>
            Cancel
          </button>
        </>
      ) : (
        <>
          <button
            type="button"
            class="lg-button"
            disabled={selected === null}
            title="Pin or unpin the selected node (P)"
            onClick={() => selected !== null && graph !== null && store.togglePin(graph.nodes[selected].id)}
          >
            {pinned ? "Unpin" : "Pin"}
          </button>
          <button
            type="button"
            class="lg-button"
            aria-pressed={false}
            disabled={graph === null}
            title="Choose nodes that belong together (hold G)"
            onClick={() => store.startGrouping()}
          >
            Group
          </button>
        </>
      )}
      {!on && (
        <>
          <Option option={sticky} name="Sticky" title="Boxes stay where they are dropped" />
          <Option option={layers} name="Layered" title="Lay new boxes out in layers" />
          <Option option={relax} name="Yield" title="Other boxes give way while one is dragged" />
          <button
            type="button"
            class="lg-button"
            disabled={none}
            title="Forget places set by hand and lay everything out anew"
            onClick={() => {
              store.clearPositions();
              model.layOutAnew();
              store.announce("Laid out anew.");
            }}
          >
            Re-layout
          </button>
        </>
      )}
      <span class="lg-space" />
      {pins > MAX_PINS_SHOWN && (
        <span class="lg-count">
          first {MAX_PINS_SHOWN} of {count(pins)} pins
        </span>
      )}
      <button
        type="button"
        class="lg-button"
        disabled={none}
        title="Save as an SVG picture"
        onClick={() => saveSvg(store, model, name)}
      >
        SVG
      </button>
      <button
        type="button"
        class="lg-button"
        disabled={none}
        title="Save as a PNG picture"
        onClick={() => savePng(store, model, name)}
      >
        PNG
      </button>
      <span class="lg-zoom">
        <button
          type="button"
          class="lg-button lg-square"
          aria-label="Zoom subgraph out"
          title="Zoom out"
          onClick={() => zoomAt(model, 1 / 1.4)}
        >
          −
        </button>
        <button
          type="button"
          class="lg-button lg-square"
          aria-label="Zoom subgraph in"
          title="Zoom in"
          onClick={() => zoomAt(model, 1.4)}
        >
          +
        </button>
        <button
          type="button"
          class="lg-button"
          aria-label="Reset subgraph zoom"
          title="See all of it"
          onClick={() => zoomAt(model, null)}
        >
          Fit
        </button>
      </span>
    </div>
  );
}

function Option({ option, name, title }: { option: typeof sticky; name: string; title: string }) {
  return (
    <label class="lg-check" title={title}>
      <input type="checkbox" checked={option.value.value} onChange={(event) => option.set(event.currentTarget.checked)} />
      {name}
    </label>
  );
}

function saveSvg(store: Store, model: SubgraphModel, name: string): void {
  const scene = pictureOf(store, model);
  if (scene !== null) saveText(`${name}-subgraph.svg`, "image/svg+xml", sceneToSvg(scene));
}

async function savePng(store: Store, model: SubgraphModel, name: string): Promise<void> {
  const scene = pictureOf(store, model);
  if (scene === null) return;
  try {
    saveBlob(`${name}-subgraph.png`, await sceneToPng(scene));
  } catch (error) {
    store.announce(error instanceof Error ? error.message : "The picture could not be made.");
  }
}

/** Zooms about a point of the panel, its middle without one; null: back to all of it. */
function zoomAt(model: SubgraphModel, factor: number | null, px?: number, py?: number): void {
  if (factor === null) {
    model.camera.value = { scale: 1, x: 0, y: 0 };
    return;
  }
  const { scale, x, y } = model.camera.peek();
  const { width, height } = model.size.peek();
  const next = Math.min(MAX_SCALE, Math.max(MIN_SCALE, scale * factor));
  const cx = px ?? width / 2;
  const cy = py ?? height / 2;
  model.camera.value = { scale: next, x: cx - ((cx - x) / scale) * next, y: cy - ((cy - y) / scale) * next };
}

function Viewport({ store, model }: Props) {
  const view = useRef<HTMLDivElement>(null);
  const from = useRef({ x: 0, y: 0 });

  useEffect(() => {
    const element = view.current!;
    const measure = () => {
      const { clientWidth: width, clientHeight: height } = element;
      const { width: w, height: h } = model.size.peek();
      if (width !== w || height !== h) model.size.value = { width, height };
    };
    const onWheel = (event: WheelEvent) => {
      if (event.ctrlKey || event.metaKey) {
        const box = element.getBoundingClientRect();
        const step = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 0.06 : 0.0025;
        const delta = Math.max(-100, Math.min(100, event.deltaY));
        zoomAt(model, Math.exp(-delta * step), event.clientX - box.left, event.clientY - box.top);
      } else if (model.camera.peek().scale > 1) {
        const { scale, x, y } = model.camera.peek();
        model.camera.value = { scale, x: x - event.deltaX, y: y - event.deltaY };
      } else return;
      event.preventDefault();
    };
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    element.addEventListener("wheel", onWheel, { passive: false });
    measure();
    return () => {
      observer.disconnect();
      element.removeEventListener("wheel", onWheel);
    };
  }, []);

  const pan = useDrag({
    onStart() {
      from.current = model.camera.peek();
      view.current?.classList.add("sg-panning");
    },
    onMove(dx, dy) {
      model.camera.value = { scale: model.camera.peek().scale, x: from.current.x + dx, y: from.current.y + dy };
    },
    onEnd: () => view.current?.classList.remove("sg-panning"),
    onCancel: () => view.current?.classList.remove("sg-panning"),
  });

  const transform = useComputed(() => {
    const { x, y } = model.camera.value;
    return `translate(${x}px, ${y}px) scale(${zoomOf(model)})`;
  });
  const moveFocus = (key: string, direction: Direction) => {
    const items = store.items.peek();
    const shown = model.places.shown.peek();
    const { width, height } = model.ground.peek();
    const at = items.map((item) => shown.get(item.key) ?? [Number.NaN, Number.NaN]);
    const next = neighbour(
      at.map(([x]) => x * width),
      at.map(([, y]) => y * height),
      items.findIndex((item) => item.key === key),
      direction,
    );
    if (next === null) return;
    model.current.value = items[next].key;
    view.current?.querySelector<HTMLElement>(`[data-key="${CSS.escape(items[next].key)}"] .sg-press`)?.focus();
  };

  const graph = model.graph.value;
  const items = store.items.value;
  const ends = endsOf(store.connections.value);
  const { on } = store.grouping.value;
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: clicking the ground clears; Esc does the same from the keyboard.
    // biome-ignore lint/a11y/useKeyWithClickEvents: as above.
    <div
      class={on ? "sg-view sg-grouping" : "sg-view"}
      ref={view}
      data-testid="subgraph"
      aria-busy={model.busy.value}
      {...onGround(pan)}
      onClick={(event) => {
        if (isGround(event) && !on) store.select(null);
      }}
    >
      {items.length === 0 && (
        <p class="sg-empty">Pin nodes to build a subgraph here: Ctrl or Cmd + click, or P on the hovered node.</p>
      )}
      <div class="sg-ground" style={{ transform: transform.value }}>
        {items.length > 0 && <Edges store={store} model={model} />}
        {graph !== null &&
          items.map((item) => (
            <Box key={item.key} store={store} model={model} graph={graph} item={item} ends={ends} onMoveFocus={moveFocus} />
          ))}
      </div>
    </div>
  );
}

/** Not on a box. By the path, as a click can have taken its target out of the document by now. */
function isGround(event: Event): boolean {
  return !event.composedPath().some((at) => at instanceof Element && at.classList.contains("sg-item"));
}

/** The same handlers, deaf to presses that begin on a box. */
function onGround(handlers: DragHandlers): DragHandlers {
  return {
    ...handlers,
    onPointerDown: (event: PointerEvent) => {
      if (isGround(event)) handlers.onPointerDown(event);
    },
  };
}
