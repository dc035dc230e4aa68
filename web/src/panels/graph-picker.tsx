// Choosing a graph: a list that can be searched, fetched anew whenever it opens, so that a new file shows up. Choosing goes through
// the store, which takes that graph's own view; nothing of the old one is carried over.

// biome-ignore-all lint/a11y/useSemanticElements: entries of two lines cannot be native options, and the popover is not modal
// biome-ignore-all lint/a11y/useFocusableInteractive: the field has the focus and names the active line
// biome-ignore-all lint/a11y/useKeyWithClickEvents: the field has the keys

import { useComputed, useSignal } from "@preact/signals";
import { Fragment } from "preact";
import { useEffect, useId, useLayoutEffect, useRef } from "preact/hooks";
import { displayToken } from "../core/tokens";
import type { GraphEntry } from "../core/types";
import type { Store } from "../store/store";
import { Icon } from "./icons";
import { currentGraph } from "./pointing";
import { sentence } from "./text";

/** Two lines hold no more. */
const MOST_TOKENS = 64;

function matches(entry: GraphEntry, words: readonly string[]): boolean {
  const text = `${entry.slug} ${entry.scan} ${entry.titlePrefix} ${entry.prompt}`.toLocaleLowerCase();
  return words.every((word) => text.includes(word));
}

export function GraphPicker({ store }: { store: Store }) {
  const open = useSignal(false);
  const filter = useSignal("");
  const active = useSignal(0);
  const root = useRef<HTMLDivElement>(null);
  const trigger = useRef<HTMLButtonElement>(null);
  const field = useRef<HTMLInputElement>(null);
  const id = useId();

  const shown = useComputed<readonly GraphEntry[]>(() => {
    const entries = store.entries.value;
    if (entries.state !== "ready") return [];
    const words = filter.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    return entries.value.filter((entry) => matches(entry, words));
  });

  const isOpen = open.value;
  // At once, so that not even the first letter is lost.
  useLayoutEffect(() => {
    if (isOpen) field.current?.focus();
  }, [isOpen]);
  useEffect(() => {
    if (!isOpen) return;
    filter.value = "";
    void store.refreshEntries();
    const slug = currentGraph(store)?.slug;
    active.value = Math.max(
      0,
      shown.peek().findIndex((entry) => entry.slug === slug),
    );
    const outside = (event: Event) => {
      if (!root.current?.contains(event.target as Node)) open.value = false;
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, [isOpen, store, shown, active, filter, open]);

  const activeId = `${id}-${active.value}`;
  useEffect(() => {
    if (isOpen) document.getElementById(activeId)?.scrollIntoView({ block: "nearest" });
  }, [isOpen, activeId]);

  const close = () => {
    open.value = false;
    trigger.current?.focus();
  };
  const choose = (entry: GraphEntry) => {
    close();
    void store.open(entry.slug);
  };

  const onKeyDown = (event: KeyboardEvent) => {
    const length = shown.value.length;
    const to: Record<string, number> = { ArrowDown: active.value + 1, ArrowUp: active.value - 1 };
    if (event.key in to) {
      event.preventDefault();
      active.value = Math.min(length - 1, Math.max(0, to[event.key]!));
    } else if (event.key === "Enter") {
      event.preventDefault();
      const entry = shown.value[active.value];
      if (entry !== undefined) choose(entry);
    } else if (event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (event.key === "Tab") open.value = false;
  };

  const graph = currentGraph(store);
  const loading = store.graph.value.state === "loading";
  const entries = store.entries.value;
  return (
    <div class="picker" ref={root}>
      <button
        ref={trigger}
        type="button"
        class="picker-button"
        aria-haspopup="dialog"
        aria-expanded={isOpen}
        data-testid="picker"
        onClick={() => (open.value = !isOpen)}
      >
        <span class="unseen">Graph: </span>
        {graph === null ? (
          <span class="picker-prompt muted">{loading ? "Opening…" : "Choose a graph"}</span>
        ) : (
          <>
            <bdi class="picker-prompt ellipsis" title={graph.prompt}>
              {displayToken(graph.prompt)}
            </bdi>
            <span class="picker-scan muted ellipsis" title={`${graph.slug}, features of ${graph.scan}`}>
              {graph.slug}
            </span>
          </>
        )}
        <Icon name="down" />
      </button>
      {isOpen && (
        <div class="popover picker-popover" role="dialog" aria-label="Graphs">
          <div class="picker-field">
            <Icon name="search" />
            <input
              ref={field}
              type="text"
              role="combobox"
              aria-label="Search graphs"
              aria-expanded="true"
              aria-controls={`${id}-list`}
              aria-autocomplete="list"
              aria-activedescendant={shown.value.length > 0 ? activeId : undefined}
              placeholder="Search by prompt, name or set"
              autoComplete="off"
              spellcheck={false}
              value={filter.value}
              onInput={(event) => {
                filter.value = event.currentTarget.value;
                active.value = 0;
              }}
              onKeyDown={onKeyDown}
            />
          </div>
          {entries.state === "error" && (
            <div class="notice notice-error" role="alert">
              <p>{sentence(entries.message)}</p>
              <button type="button" class="button" onClick={() => void store.refreshEntries()}>
                Try again
              </button>
            </div>
          )}
          {entries.state === "loading" && shown.value.length === 0 && <p class="picker-note muted">Reading the folder…</p>}
          {entries.state === "ready" && shown.value.length === 0 && (
            <p class="picker-note muted">
              {entries.value.length === 0 ? "The folder has no graphs yet." : "No graph matches."}
            </p>
          )}
          <div id={`${id}-list`} class="picker-list" role="listbox" aria-label="Graphs" tabIndex={-1}>
            {shown.value.map((entry, at) => (
              <div
                key={entry.slug}
                id={`${id}-${at}`}
                class={`picker-entry ${at === active.value ? "is-active" : ""}`}
                role="option"
                aria-selected={entry.slug === graph?.slug}
                data-slug={entry.slug}
                onClick={() => choose(entry)}
                onPointerMove={() => (active.value = at)}
              >
                <PromptTokens entry={entry} />
                <span class="picker-entry-scan muted">
                  <b>{entry.slug}</b>
                  <span class="ellipsis">
                    {entry.titlePrefix === "" ? "" : `${entry.titlePrefix} `}
                    {entry.scan}
                  </span>
                </span>
              </div>
            ))}
          </div>
        </div>
      )}
    </div>
  );
}

/** The prompt cut into its tokens, so that two prompts that differ by a blank can be told apart. */
function PromptTokens({ entry }: { entry: GraphEntry }) {
  if (entry.tokens.length === 0) {
    return (
      <bdi class="picker-entry-prompt" dir="auto">
        {displayToken(entry.prompt)}
      </bdi>
    );
  }
  return (
    <bdi class="picker-entry-prompt" dir="auto">
      {entry.tokens.slice(0, MOST_TOKENS).map((token, at) => (
        <Fragment key={at}>
          <span class="picker-token">{displayToken(token)}</span>
          <wbr />
        </Fragment>
      ))}
      {entry.tokens.length > MOST_TOKENS && "…"}
    </bdi>
  );
}
