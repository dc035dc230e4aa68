// The one store: what is open, what the user has made of it, what the pointer is on, and what follows from these.
//
// Panels read signals and call methods; nothing else changes state. This interface is the contract between `store/` and
// the panels; `createStore` implements it.

import type { ReadonlySignal, Signal } from "@preact/signals";
import type {
  Connections,
  FeatureRecord,
  Graph,
  GraphEntry,
  Item,
  ItemEdge,
  LinkType,
  NodeId,
  NodeIx,
  Scores,
  Selection,
  View,
  Visible,
} from "../core/types";

export type Load<T> =
  | { readonly state: "empty" }
  | { readonly state: "loading" }
  | { readonly state: "ready"; readonly value: T }
  | { readonly state: "error"; readonly message: string; readonly retry?: () => void };

export type SaveState = "clean" | "dirty" | "saving" | "saved" | "conflict" | "error";

export interface Store {
  // What is open.
  readonly entries: ReadonlySignal<Load<readonly GraphEntry[]>>;
  readonly graph: ReadonlySignal<Load<Graph>>;
  readonly view: ReadonlySignal<View>;
  readonly saveState: ReadonlySignal<SaveState>;
  readonly saveMessage: ReadonlySignal<string>;
  /** What could not be read or found of the file's view or of the address that was opened: a sentence each. */
  readonly problems: ReadonlySignal<readonly string[]>;

  // What the pointer or focus is on; never saved. `hold` (Shift) keeps it.
  readonly hover: ReadonlySignal<NodeIx | null>;
  readonly hold: Signal<boolean>;
  /** Grouping mode: on while G is held or the button is down; the nodes and supernodes clicked so far. */
  readonly grouping: ReadonlySignal<{ readonly on: boolean; readonly picked: readonly Selection[] }>;
  /** Search text; hits are 1 per node, null without a search. */
  readonly query: Signal<string>;
  readonly hits: ReadonlySignal<Uint8Array | null>;

  // What follows. All of these are cheap to read and computed once per change.
  readonly visible: ReadonlySignal<Visible | null>;
  readonly selectedNode: ReadonlySignal<NodeIx | null>;
  readonly pinnedSet: ReadonlySignal<ReadonlySet<NodeIx>>;
  /** Links drawn by the link graph, in ascending order of weight, as `linkType` and the selection choose them. */
  readonly drawnLinks: ReadonlySignal<Uint32Array>;
  readonly items: ReadonlySignal<readonly Item[]>;
  readonly edges: ReadonlySignal<readonly ItemEdge[]>;
  /** Of the selection (a supernode's are summed). */
  readonly connections: ReadonlySignal<Connections | null>;
  /** Label of every node as shown, without the supernode's prefix. */
  readonly labels: ReadonlySignal<readonly string[]>;
  readonly supernodeOf: ReadonlySignal<ReadonlyMap<NodeIx, string>>;
  readonly scores: ReadonlySignal<Load<{ readonly graph: Scores; readonly subgraph: Scores }>>;
  /** The page of the hovered, else selected feature. */
  readonly feature: ReadonlySignal<Load<FeatureRecord>>;
  /** Said by the live region. */
  readonly announcement: ReadonlySignal<string>;

  // Opening and saving.
  refreshEntries(): Promise<void>;
  open(slug: string): Promise<void>;
  save(options?: { overwrite?: boolean }): Promise<void>;
  upload(
    file: File,
    options?: { overwrite?: boolean },
  ): Promise<{ ok: true; slug: string } | { ok: false; problems: readonly { path: string; reason: string }[] }>;
  rename(slug: string): Promise<void>;
  remove(): Promise<void>;
  /** The file with labels and view written into it, as JSON text. */
  download(): string;
  link(form: "circuit-tracer" | "neuronpedia"): string;
  /** What of such a link other programs cannot read: a sentence each. */
  linkProblems(): readonly string[];
  /** Opens what a pasted link describes; the problems it had, if any. */
  importLink(text: string): readonly string[];

  // Editing; each is one step of the history, moves of one drag or one text field together. Selecting is no step by itself:
  // undo brings back what was selected then.
  select(selection: Selection | null): void;
  togglePin(node: NodeId): void;
  clearPins(): void;
  setLinkType(type: LinkType): void;
  setPruning(threshold: number | null): void;
  toggleHidden(node: NodeId): void;
  setLabel(node: NodeIx, label: string): void;
  group(picked: readonly Selection[]): void;
  ungroup(supernode: string): void;
  renameSupernode(supernode: string, label: string): void;
  moveItem(key: string, x: number, y: number): void;
  clearPositions(): void;
  undo(): void;
  redo(): void;
  readonly canUndo: ReadonlySignal<boolean>;
  readonly canRedo: ReadonlySignal<boolean>;

  // Pointing.
  setHover(node: NodeIx | null): void;
  startGrouping(): void;
  pick(selection: Selection): void;
  /** Leaves grouping mode; groups what was picked unless cancelled. */
  endGrouping(cancel?: boolean): void;
  announce(text: string): void;
}
