// Makes the store: wires the pure parts of `core/` and the commands into signals, and keeps server, address and browser in step.
//
// What is derived is computed when it is read and only anew when what it rests on changed: each slice of the view is a signal of
// its own, so that a rename does not touch links and a hover touches nothing.

import { batch, computed, effect, type ReadonlySignal, signal } from "@preact/signals";
import { type Api, ApiError, createApi } from "../api/client";
import { connections } from "../core/connections";
import { resolveIds } from "../core/ids";
import { scanOf, shownLabels } from "../core/labels";
import { circuitTracerLink, neuronpediaLink, parseLink, pythonProblems } from "../core/links";
import { LOGIT_DIFF_ID, withLogitDiff } from "../core/logit-diff";
import { parseJson } from "../core/read";
import { search } from "../core/search";
import { edges, items, supernodesByNode } from "../core/subgraph";
import { timed } from "../core/timings";
import type { Graph, GraphEntry, NodeIx, Selection, View } from "../core/types";
import { EMPTY_VIEW, makeView, overlay, readView, sameView, type ViewParts, withView, writeView } from "../core/view";
import { drawnLinks, passes, visible } from "../core/visible";
import { type Reader, readFile } from "../workers/read";
import { Address, type Asked, type Surface } from "./address";
import * as commands from "./commands";
import { FeatureLoader } from "./feature-loader";
import { History } from "./history";
import { RememberedLabels, type Storage } from "./remembered";
import { ScoreLoader } from "./score-loader";
import type { Load, SaveState, Store } from "./store";
import { plural, sayNode } from "./words";

/** What the store needs of its surroundings; tests give their own. */
export interface Surroundings {
  readonly api: Api;
  readonly read: Reader;
  readonly storage: Storage | null;
  readonly page: Surface & Pick<Window, "addEventListener" | "removeEventListener">;
}

export interface PageStore extends Store {
  /** Opens what the address asks for, else the first graph. */
  start(): Promise<void>;
  /** Stops everything that runs by itself. */
  stop(): void;
}

/** The address follows the view once it rests this long. */
const ADDRESS_MS = 150;
/** How long “saved” is said. */
const SAVED_MS = 2000;
/** Counts are announced once a slider rests this long. */
const ANNOUNCE_MS = 600;

const CHANGED = "The file was changed elsewhere since it was opened here.";

type Phase = { readonly kind: "rest" | "saving" | "saved" | "conflict" | "error"; readonly message: string };
const REST: Phase = { kind: "rest", message: "" };
const NO_LINKS = new Uint32Array(0);

export function createStore(given: Partial<Surroundings> = {}): PageStore {
  const page = given.page ?? window;
  const api = given.api ?? createApi(new URL("./", document.baseURI).href);
  const read = given.read ?? readFile;
  const remembered = new RememberedLabels(given.storage === undefined ? localStorageOrNone() : given.storage);
  const address = new Address(page);

  // State.
  const entries = signal<Load<readonly GraphEntry[]>>({ state: "empty" });
  const graph = signal<Load<Graph>>({ state: "empty" });
  const view = signal<View>(EMPTY_VIEW);
  /** The view that the file has: what there is to save is the difference. */
  const savedView = signal<View>(EMPTY_VIEW);
  const phase = signal<Phase>(REST);
  const problems = signal<readonly string[]>([]);
  const hover = signal<NodeIx | null>(null);
  const hold = signal(false);
  const grouping = signal<{ readonly on: boolean; readonly picked: readonly Selection[] }>({ on: false, picked: [] });
  const query = signal("");
  const announcement = signal("");
  const canUndo = signal(false);
  const canRedo = signal(false);
  let history = new History(EMPTY_VIEW);
  /** Version of the file that the view rests on, and the one that stood in the way of a save. */
  let etag: string | null = null;
  let otherEtag: string | null = null;
  let loading: AbortController | null = null;
  let saving: Promise<void> | null = null;

  // Slices: a signal tells its readers only of a change.
  const opened = computed(() => (graph.value.state === "ready" ? graph.value.value : null));
  const pinnedIds = computed(() => view.value.pinned);
  const supernodes = computed(() => view.value.supernodes);
  const selection = computed(() => view.value.selection);
  const labelMap = computed(() => view.value.labels);
  const linkType = computed(() => view.value.linkType);
  const threshold = computed(() => view.value.pruningThreshold);
  const hidden = computed(() => view.value.hidden);

  // Derived.
  const selectedNode = computed(() => {
    const one = selection.value;
    return one !== null && "node" in one ? (opened.value?.byId.get(one.node) ?? null) : null;
  });
  const pinnedSet: ReadonlySignal<ReadonlySet<NodeIx>> = computed(() => {
    const g = opened.value;
    const set = new Set<NodeIx>();
    if (g !== null) {
      for (const id of pinnedIds.value) {
        const ix = g.byId.get(id);
        if (ix !== undefined) set.add(ix);
      }
    }
    return set;
  });
  /** Nodes shown against the threshold, as text so that an equal set is no change. */
  const keptAnyway = computed(() => {
    const g = opened.value;
    const t = threshold.value;
    if (g === null || t === null) return "";
    const kept = [...pinnedSet.value].filter((ix) => !passes(g, ix, t));
    const clicked = selectedNode.value;
    if (clicked !== null && !passes(g, clicked, t) && !pinnedSet.value.has(clicked)) kept.push(clicked);
    return kept.sort((a, b) => a - b).join(" ");
  });
  const shown = computed(() => {
    const g = opened.value;
    const t = threshold.value;
    const kept = keptAnyway.value;
    return g === null ? null : timed("visible", () => visible(g, t, kept === "" ? [] : kept.split(" ").map(Number)));
  });
  const labels = computed(() => (opened.value === null ? [] : shownLabels(opened.value, labelMap.value)));
  const supernodeOf = computed(() =>
    opened.value === null ? new Map<NodeIx, string>() : supernodesByNode(opened.value, supernodes.value),
  );
  const boxes = computed(() =>
    opened.value === null ? [] : items(opened.value, { pinned: pinnedIds.value, supernodes: supernodes.value }, labels.value),
  );
  const boxEdges = computed(() => {
    const g = opened.value;
    const v = shown.value;
    const list = boxes.value;
    return g === null || v === null ? [] : timed("edges", () => edges(g, v, list));
  });
  const selectedNodes = computed<readonly NodeIx[]>(() => {
    const one = selection.value;
    if (one === null) return [];
    if ("node" in one) return selectedNode.value === null ? [] : [selectedNode.value];
    return boxes.value.find(({ supernode }) => supernode === one.supernode)?.nodes ?? [];
  });
  const drawn = computed(() => {
    const g = opened.value;
    const v = shown.value;
    if (g === null || v === null) return NO_LINKS;
    const [nodes, pinned, type] = [selectedNodes.value, pinnedSet.value, linkType.value];
    return timed("drawnLinks", () => drawnLinks(g, v, nodes, pinned, type));
  });
  const lines = computed(() => {
    const g = opened.value;
    const v = shown.value;
    const nodes = selectedNodes.value;
    return g === null || v === null || nodes.length === 0 ? null : timed("connections", () => connections(g, v, nodes));
  });
  const hits = computed(() => {
    const g = opened.value;
    const text = query.value;
    if (g === null || text.trim() === "") return null;
    return search(text, {
      graph: g,
      labels: labels.value,
      view: { hidden: hidden.value },
      pinned: pinnedSet.value,
      supernodeOf: supernodeOf.value,
    });
  });
  const dirty = computed(() => opened.value !== null && !sameView(opened.value, view.value, savedView.value));
  const saveState = computed<SaveState>(() => {
    const { kind } = phase.value;
    if (kind !== "rest") return kind;
    return dirty.value ? "dirty" : "clean";
  });
  const saveMessage = computed(() => phase.value.message);

  // What runs by itself.
  const features = new FeatureLoader(api);
  const scores = new ScoreLoader(api);
  const timers = new Map<string, ReturnType<typeof setTimeout>>();
  function later(name: string, ms: number, act: () => void): void {
    clearTimeout(timers.get(name));
    timers.set(
      name,
      setTimeout(() => {
        timers.delete(name);
        act();
      }, ms),
    );
  }
  function writeAddressNow(): void {
    clearTimeout(timers.get("address"));
    timers.delete("address");
    const g = opened.peek();
    if (g !== null) address.replace(g, view.peek(), savedView.peek());
  }
  /** Before the page leaves a graph: what waits to be written is written. */
  function flushAddress(): void {
    if (timers.has("address")) writeAddressNow();
  }
  const stops = [
    effect(() => {
      const g = opened.value;
      const at = hover.value ?? selectedNode.value;
      const node = g === null || at === null ? undefined : g.nodes[at];
      features.want(
        g === null || node?.kind !== "feature" || node.index === null
          ? null
          : { scan: scanOf(g, node), layer: node.row, index: node.index },
      );
    }),
    effect(() => {
      const g = opened.value;
      const pinned = g === null ? [] : pinnedIds.value.filter((id) => id !== LOGIT_DIFF_ID && g.byId.has(id));
      scores.want(g === null ? null : { slug: g.slug, pinned });
    }),
    effect(() => {
      if (opened.value === null) return;
      void view.value;
      void savedView.value;
      later("address", ADDRESS_MS, writeAddressNow);
    }),
    effect(() => {
      const v = shown.value;
      if (v !== null && hover.value !== null && v.node[hover.value] !== 1) hover.value = null;
    }),
  ];
  /**
   * Coming back to the page: a file that was changed elsewhere is shown anew where nothing is lost by it, else the conflict is
   * told now rather than at the next save.
   */
  const onFocus = async () => {
    const g = opened.peek();
    const known = etag;
    if (g === null || known === null || saving !== null || phase.peek().kind === "conflict") return;
    const now = await api.etag(g.slug).catch(() => null);
    // A save or another graph may have come meanwhile, which have their own say in this.
    if (now === null || now === known || etag !== known || saving !== null || opened.peek() !== g) return;
    if (dirty.peek()) {
      otherEtag = now;
      phase.value = { kind: "conflict", message: CHANGED };
    } else {
      const { clicked } = readView(writeView(g, view.peek())).parts;
      await load(g.slug, { slug: g.slug, parts: { clicked, logitDiff: g.logitDiff }, whole: false, problems: [] });
    }
    announce(CHANGED);
  };
  page.addEventListener("focus", onFocus);
  const onPop = () => {
    if (address.unchanged) writeAddressNow();
    else void follow(address.read());
  };
  page.addEventListener("popstate", onPop);
  page.addEventListener("pagehide", flushAddress);

  // Opening.
  async function refreshEntries(): Promise<void> {
    if (entries.peek().state !== "ready") entries.value = { state: "loading" };
    try {
      entries.value = { state: "ready", value: await api.entries() };
    } catch (error) {
      entries.value = { state: "error", message: messageOf(error), retry: () => void refreshEntries() };
    }
  }

  /** Opens a graph with what an address asks of it. Only the last graph asked for is ever shown. */
  async function load(slug: string, asked: Asked): Promise<void> {
    loading?.abort();
    const mine = new AbortController();
    loading = mine;
    const before = opened.peek();
    batch(() => {
      graph.value = { state: "loading" };
      hover.value = null;
      grouping.value = { on: false, picked: [] };
      phase.value = REST;
      problems.value = [];
      if (before?.slug !== slug) {
        query.value = "";
        show(EMPTY_VIEW);
      }
    });
    try {
      const file = await api.graph(slug, mine.signal);
      const found = await read(file.bytes, slug);
      if (mine.signal.aborted) return;
      etag = file.etag;
      otherEtag = null;
      enter(found, asked, before?.slug === slug);
    } catch (error) {
      if (mine.signal.aborted) return;
      graph.value = { state: "error", message: messageOf(error), retry: () => void load(slug, asked) };
    }
  }

  function enter(read: Graph, asked: Asked, again: boolean): void {
    const fromFile = readView(read.raw.qParams);
    const difference = asked.parts.logitDiff ?? fromFile.parts.logitDiff;
    const found = difference === undefined ? read : withLogitDiff(read, difference);
    const before = remembered.of(found);
    const below = (parts: ViewParts): View => {
      const made = makeView(found, parts);
      return before.size === 0 ? made : { ...made, labels: new Map([...before, ...made.labels]) };
    };
    const base = below(resolveIds(found, fromFile.parts).parts);
    const wanted = resolveIds(found, asked.whole ? asked.parts : overlay(asked.parts, fromFile.parts));
    const next = asked.whole ? makeView(found, wanted.parts) : below(wanted.parts);
    batch(() => {
      // Taking a file that changed elsewhere is a step like any other: undo brings one's own view back.
      if (again) history.push(next);
      else history = new History(next);
      savedView.value = base;
      problems.value = [...fromFile.problems, ...asked.problems, ...wanted.problems];
      graph.value = { state: "ready", value: found };
      show(history.view);
    });
    writeAddressNow();
    const odd = found.diagnostics.reduce((sum, { count }) => sum + count, 0);
    announce(
      `${found.slug}: ${plural(found.nodes.length, "node")}, ${plural(found.links.weight.length, "link")}` +
        `${odd > 0 ? `, ${plural(odd, "oddity", "oddities")} in the file` : ""}.`,
    );
  }

  /** What an address asks for while the page runs: Back, Forward, a link that was pasted. */
  async function follow(asked: Asked): Promise<void> {
    const g = opened.peek();
    if (asked.slug === null) return startWithFirst(asked);
    if (g?.slug !== asked.slug || g.logitDiff !== asked.parts.logitDiff) return load(asked.slug, asked);
    const fromFile = readView(g.raw.qParams);
    const wanted = resolveIds(g, asked.whole ? asked.parts : overlay(asked.parts, fromFile.parts));
    const next = makeView(g, wanted.parts);
    problems.value = [...asked.problems, ...wanted.problems];
    apply(sameView(g, next, view.peek()) ? { ...view.peek(), selection: next.selection } : next);
  }

  async function startWithFirst(asked: Asked): Promise<void> {
    await refreshEntries();
    const list = entries.peek();
    if (list.state === "ready" && list.value.length > 0) await load(list.value[0].slug, asked);
  }

  function close(): void {
    loading?.abort();
    batch(() => {
      graph.value = { state: "empty" };
      history = new History(EMPTY_VIEW);
      savedView.value = EMPTY_VIEW;
      phase.value = REST;
      hover.value = null;
      show(EMPTY_VIEW);
    });
    address.clear();
  }

  // Changing.
  function show(next: View): void {
    batch(() => {
      view.value = next;
      canUndo.value = history.canUndo;
      canRedo.value = history.canRedo;
    });
  }

  function apply(next: View, merge: string | null = null): void {
    const g = opened.peek();
    const now = view.peek();
    if (g === null || next === now) return;
    history.push(next, merge);
    show(next);
  }

  /** Runs a command on the graph that is open; without one there is nothing to change. */
  function command(act: (g: Graph, now: View) => View, merge: string | null = null): void {
    const g = opened.peek();
    if (g !== null) apply(act(g, view.peek()), merge);
  }

  function step(how: "undo" | "redo"): void {
    const g = opened.peek();
    const now = view.peek();
    if (g === null || !history[how]()) return;
    remembered.follow(g, now.labels, history.view.labels, false);
    show(history.view);
    announce(how === "undo" ? "Undone." : "Done again.");
  }

  function announce(text: string): void {
    // The same words twice would not be read out again.
    announcement.value = announcement.peek() === text ? `${text}\u00a0` : text;
  }

  function announceNode(ix: NodeIx): void {
    const g = opened.peek();
    const v = shown.peek();
    if (g !== null && v !== null) announce(sayNode(g, v, ix, labels.peek(), pinnedSet.peek().has(ix)));
  }

  function announceCounts(): void {
    later("announce", ANNOUNCE_MS, () => {
      const v = shown.peek();
      if (v !== null) announce(`${plural(v.nNodes, "node")} and ${plural(v.nLinks, "link")} shown.`);
    });
  }

  // Saving.
  async function save(options: { overwrite?: boolean } = {}): Promise<void> {
    // A save that is asked for while one runs comes after it, with the view as it is then.
    if (saving !== null) await saving;
    const g = opened.peek();
    if (g === null) return;
    saving = saveNow(g, options.overwrite === true).finally(() => {
      saving = null;
    });
    return saving;
  }

  async function saveNow(g: Graph, overwrite: boolean): Promise<void> {
    const written = view.peek();
    clearTimeout(timers.get("saved"));
    phase.value = { kind: "saving", message: "" };
    const still = () => opened.peek()?.slug === g.slug;
    try {
      const version = overwrite ? (otherEtag ?? "*") : (etag ?? "*");
      const answer = await api.saveView(g.slug, writeView(g, written), version);
      if (!still()) return;
      batch(() => {
        etag = answer.etag;
        otherEtag = null;
        savedView.value = written;
        phase.value = { kind: "saved", message: "" };
      });
      announce("Saved.");
      later("saved", SAVED_MS, () => {
        if (phase.peek().kind === "saved") phase.value = REST;
      });
    } catch (error) {
      if (!still()) return;
      const conflict = error instanceof ApiError && (error.status === 409 || error.status === 412);
      if (conflict) otherEtag = error.etag;
      phase.value = { kind: conflict ? "conflict" : "error", message: messageOf(error) };
      announce(`Not saved: ${messageOf(error)}`);
    }
  }

  function need(): Graph {
    const g = opened.peek();
    if (g === null) throw new Error("No graph is open.");
    return g;
  }

  const store: PageStore = {
    entries,
    graph,
    view,
    saveState,
    saveMessage,
    problems,
    hover,
    hold,
    grouping,
    query,
    hits,
    visible: shown,
    selectedNode,
    pinnedSet,
    drawnLinks: drawn,
    items: boxes,
    edges: boxEdges,
    connections: lines,
    labels,
    supernodeOf,
    scores: scores.state,
    feature: features.state,
    announcement,
    canUndo,
    canRedo,

    refreshEntries,

    async open(slug) {
      const g = opened.peek();
      if (g?.slug !== slug) {
        flushAddress();
        address.push(slug);
      }
      await load(slug, { slug, parts: {}, whole: false, problems: [] });
    },

    save,

    async upload(file, options = {}) {
      try {
        const { slug } = await api.upload(file, options.overwrite === true);
        void refreshEntries();
        return { ok: true, slug };
      } catch (error) {
        const listed = error instanceof ApiError ? error.problems : [];
        return { ok: false, problems: listed.length > 0 ? listed : [{ path: "", reason: messageOf(error) }] };
      }
    },

    async rename(slug) {
      const g = need();
      const answer = await api.rename(g.slug, slug);
      if (opened.peek() === g) {
        etag = answer.etag ?? etag;
        graph.value = { state: "ready", value: { ...g, slug: answer.slug } };
        writeAddressNow();
      }
      await refreshEntries();
    },

    async remove() {
      const g = need();
      await api.remove(g.slug, etag);
      if (opened.peek() === g) close();
      await refreshEntries();
      const list = entries.peek();
      if (graph.peek().state === "empty" && list.state === "ready" && list.value.length > 0) {
        await load(list.value[0].slug, { slug: list.value[0].slug, parts: {}, whole: false, problems: [] });
      }
    },

    download() {
      const g = need();
      const file = parseJson(new TextDecoder().decode(g.file)).value as Record<string, unknown>;
      return JSON.stringify(withView(g, view.peek(), file), null, 2);
    },

    link(form) {
      const g = need();
      return form === "neuronpedia" ? neuronpediaLink(g, view.peek()) : circuitTracerLink(address.base, g, view.peek());
    },

    linkProblems: () => pythonProblems(view.peek()),

    importLink(text) {
      const link = parseLink(text);
      if (link.params.size === 0) return ["No parameters of a graph page were found in it."];
      const g = opened.peek();
      const asked: Asked = { slug: link.slug ?? g?.slug ?? null, parts: link.parts, whole: false, problems: link.problems };
      if (asked.slug === null) return ["It does not name a graph."];
      if (g?.slug === asked.slug && (link.parts.logitDiff ?? g.logitDiff) === g.logitDiff) {
        const wanted = resolveIds(g, link.parts);
        const made = makeView(g, wanted.parts);
        apply({ ...made, labels: new Map([...view.peek().labels, ...made.labels]) });
        return [...link.problems, ...wanted.problems];
      }
      const list = entries.peek();
      if (list.state === "ready" && !list.value.some(({ slug }) => slug === asked.slug)) {
        return [`There is no graph named ${asked.slug} in this folder.`];
      }
      flushAddress();
      address.push(asked.slug);
      void load(asked.slug, asked);
      return link.problems;
    },

    select(next) {
      const g = opened.peek();
      if (g === null) return;
      const changed = commands.select(g, view.peek(), next);
      if (changed === view.peek()) return;
      history.replace(changed);
      show(changed);
      const ix = selectedNode.peek();
      if (ix !== null) announceNode(ix);
      else if (changed.selection === null) announce("Nothing selected.");
      else
        announce(
          `Supernode ${boxes.peek().find((box) => box.key === supernodeItem(changed.selection))?.label ?? ""} selected.`,
        );
    },
    togglePin(node) {
      const ix = opened.peek()?.byId.get(node);
      if (ix === undefined) return;
      command((_, now) => commands.togglePin(now, node));
      const pinned = pinnedSet.peek();
      announce(`${pinned.has(ix) ? "Pinned" : "Unpinned"} ${labels.peek()[ix]}; ${pinned.size} pinned.`);
    },
    clearPins() {
      command((_, now) => commands.clearPins(now));
      announce("Nothing pinned.");
    },
    setLinkType: (type) => command((_, now) => commands.setLinkType(now, type)),
    setPruning(to) {
      command((_, now) => commands.setPruning(now, to), "pruning");
      announceCounts();
    },
    toggleHidden(node) {
      command((_, now) => commands.toggleHidden(now, node));
      announce(view.peek().hidden.has(node) ? "Hidden." : "Shown.");
    },
    setLabel(node, label) {
      const before = view.peek().labels;
      command((g, now) => commands.setLabel(g, now, node, label), `label ${node}`);
      const g = opened.peek();
      if (g !== null) remembered.follow(g, before, view.peek().labels, true);
    },
    group(picked) {
      const before = view.peek();
      command((g, now) => commands.group(g, now, picked));
      const made = view.peek().supernodes.at(-1);
      if (view.peek() !== before && made !== undefined) {
        announce(`Grouped ${plural(made.members.length, "node")} as ${made.label}.`);
      }
    },
    ungroup(key) {
      command((_, now) => commands.ungroup(now, key));
      announce("Ungrouped.");
    },
    renameSupernode: (key, label) => command((_, now) => commands.renameSupernode(now, key, label), `rename ${key}`),
    moveItem: (key, x, y) => command((_, now) => commands.moveItem(now, key, x, y), `move ${key}`),
    clearPositions: () => command((_, now) => commands.clearPositions(now)),
    undo: () => step("undo"),
    redo: () => step("redo"),

    setHover(node) {
      if (!hold.peek() && hover.peek() !== node) hover.value = node;
    },
    startGrouping() {
      if (opened.peek() === null || grouping.peek().on) return;
      grouping.value = { on: true, picked: [] };
      announce("Grouping: choose the nodes that belong together.");
    },
    pick(one) {
      const { on, picked } = grouping.peek();
      if (!on) return;
      const left = picked.filter((other) => !commands.sameSelection(one, other));
      grouping.value = { on, picked: left.length < picked.length ? left : [...picked, one] };
      announce(`${plural(grouping.peek().picked.length, "node")} chosen.`);
    },
    endGrouping(cancel = false) {
      const { on, picked } = grouping.peek();
      if (!on) return;
      grouping.value = { on: false, picked: [] };
      if (!cancel && picked.length > 1) store.group(picked);
      else announce("Grouping ended.");
    },
    announce,

    async start() {
      const asked = address.read();
      if (asked.slug === null) return startWithFirst(asked);
      void refreshEntries();
      await load(asked.slug, asked);
    },

    stop() {
      loading?.abort();
      features.want(null);
      scores.want(null);
      for (const timer of timers.values()) clearTimeout(timer);
      for (const stop of stops) stop();
      page.removeEventListener("focus", onFocus);
      page.removeEventListener("popstate", onPop);
      page.removeEventListener("pagehide", flushAddress);
    },
  };
  return store;
}

function supernodeItem(one: Selection | null): string {
  return one !== null && "supernode" in one ? `s:${one.supernode}` : "";
}

/** Browsers may refuse storage altogether; then labels live in views alone. */
function localStorageOrNone(): Storage | null {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
