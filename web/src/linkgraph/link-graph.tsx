// The link graph: every shown node by token position and layer, the links of what is selected or pinned, and all of the pointing,
// keys and zoom that go with it. What is painted is in plot.ts, where things lie in geometry.ts.

import "./link-graph.css";

import { type ReadonlySignal, useComputed, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Store } from "../store/store";
import { sayNode } from "../store/words";
import { Axes } from "./axes";
import { type Keys, useKeys } from "./keys";
import { type Model, useModel } from "./model";
import { type AllStatus, Plot } from "./plot";
import { type Pointing, usePointing } from "./pointer";
import { FallbackNote, Strip } from "./strip";
import { Tooltip } from "./tooltip";
import { useScrolling } from "./window";

export function LinkGraph({ store }: { store: Store }) {
  const model = useModel(store);
  const { state } = model;
  const scroller = useRef<HTMLDivElement>(null);
  const layers = {
    ground: useRef<HTMLCanvasElement>(null),
    allHost: useRef<HTMLDivElement>(null),
    links: useRef<HTMLCanvasElement>(null),
    nodes: useRef<HTMLCanvasElement>(null),
    overlay: useRef<HTMLDivElement>(null),
  };
  const plot = useRef<Plot | null>(null);
  const allStatus = useSignal<AllStatus | null>(null);
  const inside = useSignal(false);
  const everything = useSignal(false);
  const tipActive = useComputed(() => inside.value || state.focused.value !== null);

  useEffect(() => {
    const made = new Plot(
      {
        ground: layers.ground.current!,
        allHost: layers.allHost.current!,
        links: layers.links.current!,
        nodes: layers.nodes.current!,
        overlay: layers.overlay.current!,
      },
      state,
      store,
    );
    plot.current = made;
    const stop = made.allStatus.subscribe((status) => (allStatus.value = status));
    return () => {
      stop();
      made.dispose();
      plot.current = null;
    };
  }, [store]);

  const zoomBy = useScrolling(model, scroller);
  const pointing = usePointing(store, model, scroller, plot, inside, everything);
  const keys = useKeys(store, model, scroller, zoomBy);

  const sizer = useComputed(() => {
    const geometry = state.geometry.value;
    const { left, right, top, bottom } = state.frame.value;
    if (geometry === null) return { width: "100%", height: "100%" };
    return {
      width: `${Math.floor(left + geometry.width + right)}px`,
      height: `${Math.floor(top + geometry.height + bottom)}px`,
    };
  });
  const place = useComputed(() => {
    const { left, top, bottom } = state.frame.value;
    return { left: `${left}px`, top: `${top}px`, right: "0", bottom: `${bottom}px` };
  });

  return (
    <div class="lg">
      <Strip store={store} state={state} showAll={model.showAll} allStatus={allStatus} onZoom={zoomBy} />
      <div class="lg-frame">
        <div class="lg-scroll" ref={scroller} data-testid="link-graph">
          <div class="lg-sizer" style={sizer.value}>
            <Stage size={model.size}>
              <div class="lg-window" style={place.value} aria-hidden="true">
                <canvas class="lg-layer" ref={layers.ground} />
                <div ref={layers.allHost} />
                <canvas class="lg-layer" ref={layers.links} />
                <canvas class="lg-layer" ref={layers.nodes} />
                <div class="lg-layer lg-rings" ref={layers.overlay} />
              </div>
              <Axes store={store} state={state} />
              <Options store={store} model={model} pointing={pointing} keys={keys} />
            </Stage>
          </div>
        </div>
        <FallbackNote allStatus={allStatus} />
        <Tooltip store={store} state={state} active={tipActive} everything={everything} />
      </div>
    </div>
  );
}

/** As large as the window; stays in place while the sizer scrolls beneath it. */
function Stage({ size, children }: { size: ReadonlySignal<{ width: number; height: number }>; children: ComponentChildren }) {
  const style = useComputed(() => ({ width: `${size.value.width}px`, height: `${size.value.height}px` }));
  return (
    <div class="lg-stage" style={style.value}>
      {children}
    </div>
  );
}

interface OptionsProps {
  readonly store: Store;
  readonly model: Model;
  readonly pointing: Pointing;
  readonly keys: Keys;
}

/** What screen readers and the pointer meet: a list of nodes of which the current one is in the document. */
function Options({ store, model, pointing, keys }: OptionsProps) {
  const graph = model.state.graph.value;
  const visible = store.visible.value;
  const wanted = model.focused.value ?? model.current.value ?? store.selectedNode.value ?? 0;
  const ix = graph !== null && wanted < graph.nodes.length ? wanted : 0;
  const id = "lg-option";
  return (
    <div
      class="lg-options"
      role="listbox"
      tabIndex={0}
      aria-label="Nodes of the link graph"
      aria-activedescendant={graph !== null && graph.nodes.length > 0 ? id : undefined}
      data-testid="link-graph-nodes"
      {...pointing}
      {...keys}
    >
      {graph !== null && graph.nodes.length > 0 && (
        <div
          id={id}
          class="lg-option"
          role="option"
          tabIndex={-1}
          aria-selected={store.selectedNode.value === ix}
          aria-setsize={graph.nodes.length}
          aria-posinset={ix + 1}
          data-node={graph.nodes[ix].id}
        >
          {visible !== null && sayNode(graph, visible, ix, store.labels.value, store.pinnedSet.value.has(ix))}
        </div>
      )}
    </div>
  );
}
