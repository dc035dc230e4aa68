// The bar over the panels: which graph, how much of it, what to look for, and what to do with it.

import { useId, useRef } from "preact/hooks";
import type { Store } from "../store/store";
import type { DialogName } from "./dialogs";
import { GraphPicker } from "./graph-picker";
import { Icon } from "./icons";
import { MoreMenu } from "./more-menu";
import { usePerFrame } from "./per-frame";
import { activate, currentGraph } from "./pointing";
import { count, plural } from "./text";

interface Props {
  readonly store: Store;
  readonly onDialog: (name: DialogName) => void;
}

export function TopBar({ store, onDialog }: Props) {
  const graph = currentGraph(store);
  return (
    <header class="top-bar">
      <h1 class="unseen">Attribution graph</h1>
      <GraphPicker store={store} />
      <Pruning store={store} />
      <SearchField store={store} />
      <div class="top-bar-actions">
        <button
          type="button"
          class="button quiet icon-button"
          aria-label="Undo"
          title="Undo (Ctrl+Z)"
          disabled={!store.canUndo.value}
          onClick={() => store.undo()}
        >
          <Icon name="undo" />
        </button>
        <button
          type="button"
          class="button quiet icon-button"
          aria-label="Redo"
          title="Redo (Ctrl+Y)"
          disabled={!store.canRedo.value}
          onClick={() => store.redo()}
        >
          <Icon name="redo" />
        </button>
        <button type="button" class="button quiet" disabled={graph === null} onClick={() => onDialog("share")}>
          Share
        </button>
        <SaveButton store={store} onDialog={onDialog} />
        <MoreMenu store={store} onDialog={onDialog} />
      </div>
    </header>
  );
}

/** 0 … node threshold in hundredths; at its right end everything in the file is shown. */
function Pruning({ store }: { store: Store }) {
  const id = useId();
  const prune = usePerFrame((to: number | null) => store.setPruning(to));
  const graph = currentGraph(store);
  const visible = store.visible.value;
  if (graph === null || visible === null || graph.nodeThreshold === null) return null;
  const most = graph.nodeThreshold;
  const value = Math.min(most, store.view.value.pruningThreshold ?? most);
  const kept = Math.round(value * 100);
  const nodes = `${count(visible.nNodes)} of ${plural(graph.nodes.length, "node")}`;
  const words = `keep ${kept} % of influence, ${nodes}`;
  return (
    <div class="pruning">
      <label for={id}>
        keep <b data-testid="pruning-kept">{kept} %</b>
        <span class="pruning-of"> of influence</span>
      </label>
      <input
        id={id}
        type="range"
        min={0}
        max={most}
        step={0.01}
        value={value}
        aria-label="Influence to keep"
        aria-valuetext={words}
        data-testid="pruning"
        onInput={(event) => {
          const to = event.currentTarget.valueAsNumber;
          // A range stops at its last whole step, which need not be the threshold itself.
          prune.next(to > most - 0.005 ? null : Number(to.toFixed(2)));
        }}
        onChange={() => prune.now()}
      />
      <output class="muted nowrap" for={id} data-testid="pruning-nodes">
        {nodes}
      </output>
    </div>
  );
}

/** Node search: hits are marked in every panel; Enter goes from one to the next. */
function SearchField({ store }: { store: Store }) {
  const field = useRef<HTMLInputElement>(null);
  const graph = currentGraph(store);
  const hits = store.hits.value;
  const visible = store.visible.value;
  const found: number[] = [];
  if (hits !== null && visible !== null) {
    for (let ix = 0; ix < hits.length; ix++) if (hits[ix] === 1 && visible.node[ix] === 1) found.push(ix);
  }

  const next = (step: number) => {
    if (found.length === 0) return;
    const at = store.selectedNode.value === null ? -1 : found.indexOf(store.selectedNode.value);
    const to = at < 0 ? (step > 0 ? 0 : found.length - 1) : (at + step + found.length) % found.length;
    if (found[to] !== store.selectedNode.value) activate(store, found[to]!, { ctrlKey: false, metaKey: false });
  };

  return (
    <search class="search">
      <Icon name="search" />
      <input
        ref={field}
        type="text"
        aria-label="Search nodes"
        aria-keyshortcuts="/"
        placeholder="Search nodes  ( / )"
        autoComplete="off"
        spellcheck={false}
        disabled={graph === null}
        data-search
        data-testid="search"
        value={store.query.value}
        onInput={(event) => (store.query.value = event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter") next(event.shiftKey ? -1 : 1);
          else if (event.key === "Escape") {
            event.stopPropagation();
            store.query.value = "";
            field.current?.blur();
          }
        }}
      />
      {hits !== null && (
        <>
          <span class="search-count muted nowrap" role="status" data-testid="search-count">
            {count(found.length)} found
          </span>
          <button
            type="button"
            class="button quiet icon-button"
            aria-label="Clear search"
            onClick={() => {
              store.query.value = "";
              field.current?.focus();
            }}
          >
            <Icon name="close" />
          </button>
        </>
      )}
    </search>
  );
}

const SAVE_TEXT = {
  clean: "Save",
  dirty: "Save",
  saving: "Saving…",
  saved: "Saved",
  conflict: "Conflict",
  error: "Not saved",
} as const;

function SaveButton({ store, onDialog }: Props) {
  const state = store.saveState.value;
  const message = store.saveMessage.value;
  const help = message !== "" ? message : state === "dirty" ? "Save the view into the graph’s file (Ctrl+S)" : "All is saved";
  return (
    <button
      type="button"
      class={`button primary save save-${state}`}
      disabled={currentGraph(store) === null}
      aria-disabled={state === "saving" ? true : undefined}
      title={help}
      data-testid="save"
      data-state={state}
      onClick={() => {
        if (state === "conflict") onDialog("conflict");
        else if (state !== "saving") void store.save();
      }}
    >
      {state === "saved" && <Icon name="check" />}
      {(state === "error" || state === "conflict") && <Icon name="warning" />}
      <span>{SAVE_TEXT[state]}</span>
      {state === "dirty" && (
        <>
          <span class="dot" aria-hidden="true" />
          <span class="unseen">, there are changes</span>
        </>
      )}
    </button>
  );
}
