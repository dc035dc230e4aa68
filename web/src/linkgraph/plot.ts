// The canvases of the link graph: what is painted on which layer, and when.
//
// Layers from back to front: ground (bands, lines, ticks), all links, highlighted links, nodes, overlay (rings: hover, focus). Each
// is painted only when something on it changed, at most once per frame. Reads the store, changes nothing in it.

import { effect, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import { count, record } from "../core/timings";
import type { Graph, NodeIx, NodeKind } from "../core/types";
import type { Store } from "../store/store";
import { type AllLinks, canvasLinks, webglLinks } from "./all-links";
import { dashNegative, linkScale } from "./colours";
import { endsOf } from "./ends";
import { type Geometry, rowY } from "./geometry";
import { addGlyph, isOpen } from "./glyphs";
import { HitGrid } from "./hit";
import { placeRings, type Ring } from "./rings";
import { strokeLinks } from "./strokes";
import { ink } from "./tokens";

/** Space around the window on the plot, for axis texts; the right one is part of what scrolls. */
export interface Frame {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

export interface PlotParts {
  readonly ground: HTMLCanvasElement;
  /** Holds the canvas of all links, which is made anew when its kind changes. */
  readonly allHost: HTMLElement;
  readonly links: HTMLCanvasElement;
  readonly nodes: HTMLCanvasElement;
  readonly overlay: HTMLElement;
}

export interface PlotState {
  readonly graph: ReadonlySignal<Graph | null>;
  readonly geometry: ReadonlySignal<Geometry | null>;
  readonly frame: ReadonlySignal<Frame>;
  /** Of the stage, with the frame. */
  readonly size: ReadonlySignal<{ readonly width: number; readonly height: number }>;
  readonly scroll: ReadonlySignal<{ readonly left: number; readonly top: number }>;
  readonly showAll: ReadonlySignal<boolean>;
  /** The node that has the keyboard's focus, null while the graph has none. */
  readonly focused: ReadonlySignal<NodeIx | null>;
}

export interface AllStatus {
  readonly kind: "webgl" | "canvas";
  readonly drawn: number;
  readonly of: number;
}

export const HIT_RADIUS = 30;
/** Size of a hidden node, which stays as a speck that can be hit. */
const HIDDEN = 0.35;

const GROUND = 1;
const ALL = 2;
const LINKS = 4;
const NODES = 8;
const OVERLAY = 16;
const EVERYTHING = 31;

function sameFeature(graph: Graph): Map<string, NodeIx[]> {
  const out = new Map<string, NodeIx[]>();
  for (const node of graph.nodes) {
    if (node.index === null || (node.kind !== "feature" && node.kind !== "attention")) continue;
    const key = `${node.kind}:${node.row}:${node.index}`;
    const list = out.get(key);
    if (list === undefined) out.set(key, [node.ix]);
    else list.push(node.ix);
  }
  return out;
}

export class Plot {
  readonly #parts: PlotParts;
  readonly #state: PlotState;
  readonly #store: Store;
  readonly #stops: (() => void)[] = [];
  #dirty = 0;
  #request = 0;
  #why = "paint";
  #all: AllLinks | null = null;
  #allStale = true;
  #noWebgl = false;
  #grid: HitGrid | null = null;
  #gridOf: Geometry | null = null;
  #shapes: ReadonlyMap<NodeKind, Path2D> = new Map();
  #shapesOf: Geometry | null = null;
  #shapesWithout: ReadonlySet<string> | null = null;
  #twins: ReadonlyMap<string, NodeIx[]> = new Map();
  #twinsOf: Graph | null = null;

  /** How the layer of all links stands; null while it is off. */
  readonly allStatus: Signal<AllStatus | null> = signal(null);

  constructor(parts: PlotParts, state: PlotState, store: Store) {
    this.#parts = parts;
    this.#state = state;
    this.#store = store;
    this.#watch(EVERYTHING, "paint", () => {
      void [state.geometry.value, state.frame.value, state.size.value, state.scroll.value, ink.value, linkScale.value];
    });
    this.#watch(ALL, "all links", () => {
      void [state.geometry.value, store.visible.value, state.showAll.value, linkScale.value, dashNegative.value];
      this.#allStale = true;
    });
    // Behind highlighted links, all links step back; a matter of the canvas's opacity, not of painting it anew.
    this.#stops.push(
      effect(() => {
        parts.allHost.style.opacity = store.view.value.selection === null ? "1" : "0.3";
      }),
    );
    this.#watch(LINKS, "select", () => void [store.drawnLinks.value, store.visible.value, dashNegative.value]);
    this.#watch(NODES, "select", () => {
      const { selection, hidden } = store.view.value;
      void [selection, hidden, store.connections.value, store.pinnedSet.value, store.grouping.value, store.hits.value];
    });
    this.#watch(OVERLAY, "hover", () => void [store.hover.value, store.selectedNode.value, state.focused.value]);
  }

  dispose(): void {
    for (const stop of this.#stops) stop();
    cancelAnimationFrame(this.#request);
    this.#all?.dispose();
  }

  /** The node within reach of a place in the plot. */
  nodeAt(x: number, y: number): NodeIx | null {
    const geometry = this.#state.geometry.value;
    if (geometry === null) return null;
    if (this.#gridOf !== geometry || this.#grid === null) {
      this.#grid = new HitGrid(geometry.x, geometry.y, geometry.width, geometry.height, HIT_RADIUS);
      this.#gridOf = geometry;
    }
    return this.#grid.nearest(x, y);
  }

  #watch(layers: number, why: string, read: () => void): void {
    this.#stops.push(
      effect(() => {
        read();
        this.#invalidate(layers, why);
      }),
    );
  }

  #invalidate(layers: number, why: string): void {
    // The costliest reason names the frame.
    if (this.#dirty === 0 || layers > OVERLAY || this.#why === "hover") this.#why = why;
    this.#dirty |= layers;
    if (this.#request === 0) this.#request = requestAnimationFrame(() => this.#paint());
  }

  #paint(): void {
    this.#request = 0;
    const dirty = this.#dirty;
    this.#dirty = 0;
    const start = performance.now();
    const paint = (layer: number, name: string, work: () => void) => {
      if ((dirty & layer) === 0) return;
      count(`paint ${name}`);
      work();
    };
    paint(GROUND, "ground", () => this.#paintGround());
    paint(ALL, "all links", () => this.#paintAll());
    paint(LINKS, "links", () => this.#paintLinks());
    paint(NODES, "nodes", () => this.#paintNodes());
    paint(OVERLAY, "overlay", () => this.#paintOverlay());
    record(`paint: ${this.#why}`, performance.now() - start);
  }

  /** A cleared context moved to the plot's origin; only the window on the plot can be painted. */
  #context(canvas: HTMLCanvasElement): CanvasRenderingContext2D | null {
    const { width, height } = this.#window();
    const ratio = window.devicePixelRatio || 1;
    const w = Math.max(1, Math.round(width * ratio));
    const h = Math.max(1, Math.round(height * ratio));
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
    }
    const context = canvas.getContext("2d");
    if (context === null) return null;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, w, h);
    const { left, top } = this.#state.scroll.value;
    context.setTransform(ratio, 0, 0, ratio, -left * ratio, -top * ratio);
    return context;
  }

  #window(): { width: number; height: number } {
    const { width, height } = this.#state.size.value;
    const frame = this.#state.frame.value;
    return { width: Math.max(0, width - frame.left), height: Math.max(0, height - frame.top - frame.bottom) };
  }

  #paintGround(): void {
    const geometry = this.#state.geometry.value;
    const context = this.#context(this.#parts.ground);
    if (context === null || geometry === null) return;
    const { band, grid } = ink.value;
    const { width } = this.#window();
    const { left } = this.#state.scroll.value;
    context.fillStyle = band;
    for (const row of [-1, geometry.logitRow]) {
      context.fillRect(left, rowY(geometry, row) - geometry.rowHeight / 2, width, geometry.rowHeight);
    }
    context.fillStyle = grid;
    for (let row = 0; row <= geometry.logitRow; row++) {
      context.fillRect(left, Math.round(rowY(geometry, row) + geometry.rowHeight / 2), width, 1);
    }
    for (let pos = geometry.first + 1; pos < geometry.columns.length; pos++) {
      const x = geometry.columns[pos];
      if (x >= left - 1 && x <= left + width) context.fillRect(Math.round(x), 0, 1, geometry.height);
    }
  }

  #paintAll(): void {
    const geometry = this.#state.geometry.value;
    const graph = this.#state.graph.value;
    const visible = this.#store.visible.value;
    if (!this.#state.showAll.value || geometry === null || graph === null || visible === null) {
      if (this.#all !== null) this.#all.canvas.hidden = true;
      this.allStatus.value = null;
      return;
    }
    const all = this.#all ?? this.#makeAll();
    if (all === null) return;
    all.canvas.hidden = false;
    if (this.#allStale) {
      this.#allStale = false;
      count("upload all links");
      all.setData({
        links: graph.links,
        shown: visible.link,
        share: visible.pctInput,
        geometry,
        scale: linkScale.value,
        dashNegative: dashNegative.value,
      });
      this.allStatus.value = { kind: this.#noWebgl ? "canvas" : "webgl", ...all.counts };
    }
    const { left, top } = this.#state.scroll.value;
    all.draw({ ...this.#window(), left, top, pixelRatio: window.devicePixelRatio || 1 });
  }

  #makeAll(): AllLinks | null {
    const canvas = () => {
      const made = document.createElement("canvas");
      made.className = "lg-layer";
      made.dataset.testid = "all-links";
      this.#parts.allHost.replaceChildren(made);
      return made;
    };
    if (!this.#noWebgl) {
      this.#all = webglLinks(canvas(), () => {
        this.#noWebgl = true;
        this.#all?.dispose();
        this.#all = null;
        this.#allStale = true;
        this.#invalidate(ALL, "all links");
      });
      if (this.#all !== null) return this.#all;
      this.#noWebgl = true;
    }
    // A canvas that gave a WebGL context gives no other.
    this.#all = canvasLinks(canvas());
    return this.#all;
  }

  #paintLinks(): void {
    const geometry = this.#state.geometry.value;
    const graph = this.#state.graph.value;
    const visible = this.#store.visible.value;
    const context = this.#context(this.#parts.links);
    if (context === null || geometry === null || graph === null || visible === null) return;
    const selected = this.#store.view.value.selection !== null;
    strokeLinks(context, geometry, graph.links, this.#store.drawnLinks.value, visible.pctInput, {
      scale: linkScale.value,
      // Light links on a dark ground are set off by the ground itself.
      underlay: selected ? (linkScale.value.dark ? ink.value.panel : ink.value.text) : null,
      dashNegative: dashNegative.value,
      alpha: 1,
    });
  }

  #shapesFor(graph: Graph, geometry: Geometry): ReadonlyMap<NodeKind, Path2D> {
    const { hidden } = this.#store.view.value;
    if (this.#shapesOf !== geometry || this.#shapesWithout !== hidden) {
      const shapes = new Map<NodeKind, Path2D>();
      for (const { ix, id, kind } of graph.nodes) {
        if (Number.isNaN(geometry.x[ix])) continue;
        const radius = hidden.has(id) ? geometry.radius * HIDDEN : geometry.radius;
        let path = shapes.get(kind);
        if (path === undefined) {
          path = new Path2D();
          shapes.set(kind, path);
        }
        addGlyph(path, kind, geometry.x[ix], geometry.y[ix], radius);
      }
      this.#shapes = shapes;
      this.#shapesOf = geometry;
      this.#shapesWithout = hidden;
    }
    return this.#shapes;
  }

  #paintNodes(): void {
    const geometry = this.#state.geometry.value;
    const graph = this.#state.graph.value;
    const context = this.#context(this.#parts.nodes);
    // The nodes of a new graph can come before its geometry.
    if (context === null || geometry === null || graph === null || geometry.x.length !== graph.nodes.length) return;
    const { x, y, radius } = geometry;
    const { nodes } = graph;
    const colours = ink.value;
    const scale = linkScale.value;
    const { selection, supernodes } = this.#store.view.value;
    const hits = this.#store.hits.value;
    const placed = (ix: NodeIx | undefined): ix is NodeIx => ix !== undefined && !Number.isNaN(x[ix]);

    const one = (ix: NodeIx, fill: string | null, line: string, width: number, grown = 0) => {
      const { kind } = nodes[ix];
      context.beginPath();
      addGlyph(context, kind, x[ix], y[ix], radius + grown);
      context.lineWidth = isOpen(kind) ? width + 0.75 : width;
      if (fill !== null && !isOpen(kind)) {
        context.fillStyle = fill;
        context.fill();
      }
      context.strokeStyle = fill !== null && isOpen(kind) && line === colours.nodeLine ? fill : line;
      context.stroke();
    };

    if (hits !== null) {
      context.fillStyle = colours.match;
      context.globalAlpha = 0.3;
      const halos = new Path2D();
      for (const { ix } of nodes) {
        if (hits[ix] && placed(ix)) {
          halos.moveTo(x[ix] + radius + 3.5, y[ix]);
          halos.arc(x[ix], y[ix], radius + 3.5, 0, 2 * Math.PI);
        }
      }
      context.fill(halos);
    }

    context.globalAlpha = hits !== null ? 0.35 : selection !== null ? 0.6 : 1;
    context.fillStyle = colours.nodeFill;
    context.strokeStyle = colours.nodeLine;
    for (const [kind, path] of this.#shapesFor(graph, geometry)) {
      context.lineWidth = isOpen(kind) ? 1.75 : 1;
      if (!isOpen(kind)) context.fill(path);
      context.stroke(path);
    }
    context.globalAlpha = 1;

    if (hits !== null) for (const { ix } of nodes) if (hits[ix] && placed(ix)) one(ix, colours.nodeFill, colours.match, 1.75);

    const connections = this.#store.connections.value;
    if (selection !== null && connections !== null) {
      const ends = endsOf(connections);
      for (const [ix, share] of [...ends].sort((a, b) => Math.abs(a[1]) - Math.abs(b[1]))) {
        if (placed(ix)) one(ix, scale.colour(share), colours.nodeLine, 1);
      }
    }

    for (const ix of this.#store.pinnedSet.value) if (placed(ix)) one(ix, null, colours.pinned, 2.25);

    const mark = (ids: readonly string[], colour: string, fill: string | null, width: number, grown: number) => {
      for (const id of ids) {
        const ix = graph.byId.get(id);
        if (placed(ix)) one(ix, fill, colour, width, grown);
      }
    };
    const members = (key: string) => supernodes.find((group) => group.key === key)?.members ?? [];
    if (selection !== null) {
      if ("supernode" in selection) mark(members(selection.supernode), colours.selected, null, 2.25, 1);
      else {
        // Ids of old files can repeat, so the selected node goes by its index.
        const ix = this.#store.selectedNode.value;
        if (ix !== null && placed(ix)) one(ix, colours.nodeFill, colours.selected, 2.75, 1.25);
      }
    }
    for (const picked of this.#store.grouping.value.picked) {
      const ids = "supernode" in picked ? members(picked.supernode) : [picked.node];
      mark(ids, colours.grouping, null, 2.5, 2.5);
    }
  }

  #paintOverlay(): void {
    const geometry = this.#state.geometry.value;
    const graph = this.#state.graph.value;
    const ready = geometry !== null && graph !== null && geometry.x.length === graph.nodes.length;
    placeRings(this.#parts.overlay, ready ? this.#rings(graph, geometry) : []);
  }

  #rings(graph: Graph, geometry: Geometry): Ring[] {
    const { x, y, radius } = geometry;
    const { left, top } = this.#state.scroll.value;
    const hover = this.#store.hover.value;
    const selected = this.#store.selectedNode.value;
    if (this.#twinsOf !== graph) {
      this.#twins = sameFeature(graph);
      this.#twinsOf = graph;
    }
    const rings: Ring[] = [];
    const add = (kind: Ring["kind"], ix: NodeIx | null, size: number) => {
      if (ix === null || Number.isNaN(x[ix])) return;
      rings.push({ kind, x: x[ix] - left, y: y[ix] - top, radius: size });
    };
    const twins = (kind: Ring["kind"], ix: NodeIx | null) => {
      if (ix === null) return;
      const node = graph.nodes[ix];
      for (const twin of this.#twins.get(`${node.kind}:${node.row}:${node.index}`) ?? []) {
        if (twin !== ix) add(kind, twin, radius + 3);
      }
    };
    twins("same-as-selected", selected);
    twins("same-as-hovered", hover);
    add("hover", hover, radius + 5);
    add("focus", this.#state.focused.value, radius + 7.5);
    return rings;
  }
}
