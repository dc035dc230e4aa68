// One box of the subgraph: a ring per node, the label below, the button that dissolves a supernode; and what pointer and keys do
// to it.

import { useComputed } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { displayToken } from "../core/tokens";
import type { Graph, Item, NodeIx, Selection } from "../core/types";
import { linkScale } from "../linkgraph/colours";
import { glyphPath } from "../linkgraph/glyphs";
import { ARROWS, type Direction } from "../linkgraph/navigate";
import { activate, hover } from "../panels/pointing";
import { nodeName, plural } from "../panels/text";
import type { Store } from "../store/store";
import { useDrag } from "./drag";
import { BOX_HEIGHT, BOX_WIDTH } from "./layout";
import { pixels, type SubgraphModel, startRelaxation, zoomOf } from "./model";
import { relax, sticky } from "./options";
import type { Place } from "./places";
import type { Relaxation } from "./relax";

/** Rings stand this far apart while they fit, and overlap when there are more. */
const RING = 15;
const ROOM = BOX_WIDTH - 12;
/** A step of Alt + arrow, in pixels. */
const NUDGE = 12;

export function ringStep(n: number): number {
  return n <= 1 ? 0 : Math.min(RING + 1, (ROOM - RING) / (n - 1));
}

interface Props {
  readonly store: Store;
  readonly model: SubgraphModel;
  readonly graph: Graph;
  readonly item: Item;
  readonly ends: ReadonlyMap<NodeIx, number>;
  readonly onMoveFocus: (from: string, direction: Direction) => void;
}

/** What a box is called. */
export function itemName(graph: Graph, item: Item): string {
  const name = item.supernode === null ? nodeName(graph, item.nodes[0], item.label) : item.label;
  return displayToken(name);
}

function isPicked(picked: readonly Selection[], one: Selection): boolean {
  return picked.some((other) =>
    "node" in one ? "node" in other && other.node === one.node : "supernode" in other && other.supernode === one.supernode,
  );
}

export function Box({ store, model, graph, item, ends, onMoveFocus }: Props) {
  const { key, supernode, nodes } = item;
  const style = useComputed(() => {
    const place = model.places.shown.value.get(key);
    if (place === undefined) return { visibility: "hidden" };
    const [x, y] = pixels(model, place);
    return { transform: `translate(${x}px, ${y}px)` };
  });
  const drag = useDragging(store, model, item);
  const button = useRef<HTMLButtonElement>(null);

  const own: Selection = supernode === null ? { node: graph.nodes[nodes[0]].id } : { supernode };
  const { on: grouping, picked } = store.grouping.value;
  const { selection } = store.view.value;
  const selected = selection !== null && "supernode" in selection && selection.supernode === supernode;
  const name = itemName(graph, item);
  const current = model.current.value;
  const gone = current !== null && !store.items.value.some((other) => other.key === current);
  const tabbed = current === null || gone ? store.items.value[0]?.key === key : current === key;
  const naming = model.naming.value === key;

  // A new group takes the keyboard from the box that it swallowed.
  useEffect(() => {
    const left = document.activeElement === document.body || document.activeElement === null;
    if (supernode === null || !gone || !left) return;
    model.current.value = key;
    button.current?.focus();
  }, []);

  const press = (event: MouseEvent | KeyboardEvent) => {
    model.current.value = key;
    if (supernode === null) activate(store, nodes[0], event);
    else if (grouping) store.pick({ supernode });
    else store.select(selected ? null : { supernode });
  };
  const enter = () => {
    model.over.value = key;
    if (supernode === null) hover(store, nodes[0]);
  };
  const leave = () => {
    if (model.over.value === key) model.over.value = null;
    hover(store, null);
  };

  const nudge = (direction: Direction) => {
    const place = model.places.shown.peek().get(key);
    if (place === undefined) return;
    const { width, height } = model.ground.peek();
    const dx = direction === "left" ? -NUDGE : direction === "right" ? NUDGE : 0;
    const dy = direction === "up" ? -NUDGE : direction === "down" ? NUDGE : 0;
    store.moveItem(key, inside(place[0] + dx / width), inside(place[1] + dy / height));
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const direction = ARROWS[event.key];
    if (direction !== undefined && !event.ctrlKey && !event.metaKey) {
      if (event.altKey) nudge(direction);
      else onMoveFocus(key, direction);
    } else if (event.key === "F2") model.naming.value = key;
    else if (event.key === "Delete" || event.key === "Backspace") {
      if (supernode === null) store.togglePin(graph.nodes[nodes[0]].id);
      else store.ungroup(supernode);
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && supernode === null) press(event);
    else return;
    event.preventDefault();
  };

  const classes = ["sg-box"];
  if (supernode !== null) classes.push("sg-group");
  if (selected) classes.push("sg-selected");
  if (grouping && isPicked(picked, own)) classes.push("sg-picked");
  const members = supernode === null ? "" : `, ${plural(nodes.length, "member")}`;
  return (
    <div class="sg-item" style={style.value} data-testid="subgraph-item" data-key={key} {...drag}>
      <div class={classes.join(" ")} onPointerEnter={enter} onPointerLeave={leave}>
        <button
          type="button"
          ref={button}
          class="sg-press"
          tabIndex={tabbed ? 0 : -1}
          aria-label={`${name}${members}`}
          aria-pressed={supernode === null ? store.selectedNode.value === nodes[0] : selected}
          onClick={press}
          onKeyDown={onKeyDown}
          onFocus={() => {
            model.current.value = key;
            if (button.current?.matches(":focus-visible")) enter();
          }}
          onBlur={leave}
        />
        {nodes.map((ix, i) => (
          <Ring
            key={ix}
            store={store}
            graph={graph}
            ix={ix}
            left={(i - (nodes.length - 1) / 2) * ringStep(nodes.length)}
            share={ends.get(ix)}
            alone={supernode === null}
            tabbed={tabbed}
          />
        ))}
        {supernode !== null && (
          <button
            type="button"
            class={grouping ? "sg-dissolve sg-shown" : "sg-dissolve"}
            data-no-drag
            tabIndex={tabbed ? 0 : -1}
            aria-label={`Ungroup ${name}`}
            title="Ungroup"
            onClick={() => store.ungroup(supernode)}
          >
            ×
          </button>
        )}
      </div>
      {naming ? (
        <NameField
          label={item.label}
          onDone={(text) => {
            model.naming.value = null;
            if (text !== null) {
              if (supernode === null) store.setLabel(nodes[0], text);
              else store.renameSupernode(supernode, text);
            }
            // Back to where the keyboard was, unless another place was clicked.
            if (document.activeElement === document.body || document.activeElement === null) button.current?.focus();
          }}
        />
      ) : (
        // biome-ignore lint/a11y/noStaticElementInteractions: a second way for the pointer; the keyboard has F2 on the box.
        // biome-ignore lint/a11y/useKeyWithClickEvents: as above.
        <span
          class="sg-label"
          dir="auto"
          title={supernode === null ? name : `${name} (click to rename)`}
          onClick={(event) => {
            if (supernode !== null && !grouping) model.naming.value = key;
            else press(event);
          }}
          onDblClick={() => {
            if (!grouping) model.naming.value = key;
          }}
        >
          {name}
        </span>
      )}
    </div>
  );
}

function inside(share: number): number {
  return Math.min(1, Math.max(0, share));
}

/** A box follows the pointer; where it is dropped it stays, if boxes are sticky. */
function useDragging(store: Store, model: SubgraphModel, item: Item) {
  const start = useRef<Place | null>(null);
  const relaxation = useRef<Relaxation | null>(null);
  useEffect(() => () => relaxation.current?.stop(), []);

  const at = (dx: number, dy: number): Place | null => {
    const from = start.current;
    if (from === null) return null;
    const { width, height } = model.ground.peek();
    const zoom = zoomOf(model);
    return [inside(from[0] + dx / zoom / width), inside(from[1] + dy / zoom / height)];
  };
  const end = () => {
    relaxation.current?.stop();
    relaxation.current = null;
    start.current = null;
  };
  return useDrag({
    onStart() {
      start.current = model.places.shown.peek().get(item.key) ?? null;
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      if (relax.value.peek() && !calm) relaxation.current = startRelaxation(store, model, item);
    },
    onMove(dx, dy) {
      const place = at(dx, dy);
      if (place === null) return;
      const [x, y] = pixels(model, place);
      const index = store.items.peek().findIndex(({ key }) => key === item.key);
      relaxation.current?.hold(index, x, y);
      model.places.override(new Map([[item.key, place]]));
    },
    onEnd(dx, dy) {
      const place = at(dx, dy);
      if (relaxation.current !== null) model.places.keep(model.places.shown.peek());
      end();
      if (place === null) return;
      if (sticky.value.peek()) store.moveItem(item.key, place[0], place[1]);
      else model.places.restore(store.items.peek(), store.view.peek().positions);
    },
    onCancel() {
      end();
      model.places.restore(store.items.peek(), store.view.peek().positions);
    },
  });
}

interface RingProps {
  readonly store: Store;
  readonly graph: Graph;
  readonly ix: NodeIx;
  readonly left: number;
  /** Of the link with the selection. */
  readonly share: number | undefined;
  /** The only node of its box, which then acts for it. */
  readonly alone: boolean;
  readonly tabbed: boolean;
}

function Ring({ store, graph, ix, left, share, alone, tabbed }: RingProps) {
  const node = graph.nodes[ix];
  const hovered = useComputed(() => store.hover.value === ix);
  const hit = useComputed(() => store.hits.value?.[ix] === 1);
  const classes = ["sg-ring"];
  if (store.selectedNode.value === ix) classes.push("sg-selected");
  if (hovered.value) classes.push("sg-hovered");
  if (hit.value) classes.push("sg-hit");
  if (isPicked(store.grouping.value.picked, { node: node.id })) classes.push("sg-picked");
  const style = { left: `${BOX_WIDTH / 2 + left - RING / 2}px`, top: `${BOX_HEIGHT / 2 - RING / 2}px` };
  const glyph = (
    <svg width={RING} height={RING} viewBox={`${-RING / 2} ${-RING / 2} ${RING} ${RING}`} aria-hidden="true">
      <path d={glyphPath(node.kind, 5)} style={share === undefined ? undefined : { fill: linkScale.value.colour(share) }} />
    </svg>
  );
  if (alone) {
    return (
      <span class={classes.join(" ")} style={style} data-node={node.id}>
        {glyph}
      </span>
    );
  }
  const name = displayToken(nodeName(graph, ix, store.labels.value[ix] ?? ""));
  return (
    <button
      type="button"
      class={classes.join(" ")}
      style={style}
      tabIndex={tabbed ? 0 : -1}
      aria-label={name}
      aria-pressed={store.selectedNode.value === ix}
      title={name}
      data-node={node.id}
      onPointerEnter={() => hover(store, ix)}
      onPointerLeave={() => hover(store, null)}
      onFocus={(event) => {
        if (event.currentTarget.matches(":focus-visible")) hover(store, ix);
      }}
      onBlur={() => hover(store, null)}
      onClick={(event) => activate(store, ix, event)}
    >
      {glyph}
    </button>
  );
}

function NameField({ label, onDone }: { label: string; onDone: (text: string | null) => void }) {
  const field = useRef<HTMLInputElement>(null);
  const done = useRef(false);
  // At once: what is typed next is the name.
  useLayoutEffect(() => {
    field.current?.focus();
    field.current?.select();
  }, []);
  const finish = (text: string | null) => {
    // Leaving by Enter or Esc takes the focus away, which must not count as leaving again.
    if (done.current) return;
    done.current = true;
    onDone(text);
  };
  return (
    <input
      ref={field}
      class="sg-name"
      aria-label="Label"
      defaultValue={label}
      dir="auto"
      maxLength={200}
      onKeyDown={(event) => {
        if (event.isComposing) return;
        if (event.key === "Enter") finish(event.currentTarget.value);
        else if (event.key === "Escape") finish(null);
        else return;
        event.preventDefault();
        event.stopPropagation();
      }}
      onBlur={(event) => finish(event.currentTarget.value)}
    />
  );
}
