// The vocabulary of the page: a graph as read, a view of it, and what is derived from both.
//
// Nothing here computes and nothing here knows the DOM. `Graph` never changes after reading; `View` is what a user makes of
// it (immutable: every command gives a new one); everything else is derived by pure functions of `core/` and offered as
// signals by `store/`.

/** A node as an index into `Graph.nodes`. Never stored: files, links and views name nodes by `node_id`. */
export type NodeIx = number;
/** A link as an index into the columns of `Graph.links`. */
export type LinkIx = number;
/** `node_id` of a file; where an old file uses one twice, the second node has another one here (see `core/read.ts`). */
export type NodeId = string;

export type NodeKind = "feature" | "error" | "token" | "logit" | "attention" | "bias" | "unknown";

export interface GraphNode {
  readonly ix: NodeIx;
  readonly id: NodeId;
  readonly kind: NodeKind;
  /** Row of the link graph: -1 for tokens, the layer for what sits in a layer, `Graph.logitRow` for logits. */
  readonly row: number;
  /** Token position, `ctx_idx`. */
  readonly pos: number;
  /** Index of a feature within its layer, from the id (or from the legacy number); null where there is none. */
  readonly index: number | null;
  /** The file's `feature` number (Cantor or legacy), which labels and feature pages go by. */
  readonly feature: number | null;
  /** The file's own label. */
  readonly clerp: string;
  /** Cumulative share of influence at this node's rank, 0 to 1; null where the file has none. Small is important. */
  readonly influence: number | null;
  readonly activation: number | null;
  /** Probability of a logit, 0 elsewhere. */
  readonly tokenProb: number;
  readonly isTarget: boolean;
}

/** Links of node n: `link[start[n]] .. link[start[n + 1]]`. */
export interface Adjacency {
  readonly start: Uint32Array;
  readonly link: Uint32Array;
}

export interface Links {
  readonly source: Uint32Array;
  readonly target: Uint32Array;
  readonly weight: Float64Array;
}

/** What was odd about a file, for the diagnostics panel: a sentence and how often. */
export interface Diagnostic {
  readonly message: string;
  readonly count: number;
}

export interface Graph {
  readonly slug: string;
  readonly scan: string;
  /** Per layer, where the set is made of several (`transcoder_list`); else empty. */
  readonly scans: readonly string[];
  readonly prompt: string;
  readonly tokens: readonly string[];
  /** Node threshold of the file; a number switches the pruning slider on. */
  readonly nodeThreshold: number | null;
  readonly nodes: readonly GraphNode[];
  readonly links: Links;
  /** By target: what goes into a node. */
  readonly inputs: Adjacency;
  /** By source: what goes out of a node. */
  readonly outputs: Adjacency;
  /** Node of an id. */
  readonly byId: ReadonlyMap<NodeId, NodeIx>;
  /** Directly above the highest row present. */
  readonly logitRow: number;
  readonly diagnostics: readonly Diagnostic[];
  /** The file's parsed JSON without its links. */
  readonly raw: RawGraph;
  /** The file as read, byte for byte: what a download starts from. */
  readonly file: Uint8Array;
  /** What `core/logit-diff.ts` was asked for, where it added a node. */
  readonly logitDiff?: string;
}

/** A graph file as parsed JSON, all keys kept but `links`: a hundred thousand objects that only a download needs. */
export interface RawGraph {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly qParams: Readonly<Record<string, unknown>>;
  /** `raw.nodes[ix]` is what the file says about `nodes[ix]`. */
  readonly nodes: readonly Readonly<Record<string, unknown>>[];
  readonly [key: string]: unknown;
}

export type LinkType = "input" | "output" | "either" | "both";

export interface Supernode {
  /** Unique within a view and stable while the supernode lives: labels repeat. */
  readonly key: string;
  readonly label: string;
  /** In the order in which they were grouped; some may not be pinned, some not in the graph. */
  readonly members: readonly NodeId[];
}

/** What is selected: one node or one supernode. */
export type Selection = { readonly node: NodeId } | { readonly supernode: string };

/** What a user has made of a graph. Saved in the file's `qParams`, in links, and step by step in the history. */
export interface View {
  readonly pinned: readonly NodeId[];
  readonly supernodes: readonly Supernode[];
  readonly selection: Selection | null;
  readonly linkType: LinkType;
  /** Keep nodes up to this cumulative influence; null: all. */
  readonly pruningThreshold: number | null;
  /** Labels by the keys of `clerps`, which only `core/labels.ts` understands. */
  readonly labels: ReadonlyMap<string, string>;
  /** Places of subgraph items set by hand, 0 to 1 of the panel's width and height, by `ItemKey`. */
  readonly positions: ReadonlyMap<string, readonly [number, number]>;
  /** Hidden nodes. */
  readonly hidden: ReadonlySet<NodeId>;
}

/** What is shown of a graph under a view's filters. */
export interface Visible {
  /** 1 where a node is shown. */
  readonly node: Uint8Array;
  readonly nNodes: number;
  /** 1 where both ends of a link are shown. */
  readonly link: Uint8Array;
  readonly nLinks: number;
  /** Per node the sum of |weight| of its shown inputs. */
  readonly inputSum: Float64Array;
  /** Per link `weight / inputSum[target]`, signed, 0 for links not shown. */
  readonly pctInput: Float64Array;
}

/** Key of a box in the subgraph: `n:{node_id}` or `s:{supernode key}`. */
export type ItemKey = string;

/** A box of the subgraph: a loose pinned node, or a supernode with at least one pinned member. */
export interface Item {
  readonly key: ItemKey;
  readonly label: string;
  readonly supernode: string | null;
  readonly nodes: readonly NodeIx[];
}

export interface ItemEdge {
  readonly source: number; // into the list of items
  readonly target: number;
  /** Signed; `edges` in core/subgraph.ts has the formula. */
  readonly weight: number;
}

/** A line of node connections. */
export interface Connection {
  readonly node: NodeIx;
  readonly weight: number;
  /** Relative to the inputs of the link's target. */
  readonly pctInput: number;
}

export interface Connections {
  readonly inputs: readonly Connection[];
  readonly outputs: readonly Connection[];
}

export interface Scores {
  /** Null where a score does not exist (nothing pinned, attention nodes, no influence). */
  readonly replacement: number | null;
  readonly completeness: number | null;
}

/** What is known of one feature: examples, logits, histograms (docs of the format: web/README.md). */
export interface FeatureRecord {
  readonly index: number;
  readonly examples: readonly { readonly name: string; readonly examples: readonly FeatureExample[] }[];
  readonly topLogits: readonly string[];
  readonly bottomLogits: readonly string[];
  readonly actMin: number;
  readonly actMax: number;
  readonly quantileValues: readonly number[];
  readonly histogram: readonly number[];
  readonly frequency: number | null;
  /** A label that a program made, never a person. */
  readonly automaticLabel: string | null;
}

export interface FeatureExample {
  readonly tokens: readonly string[];
  readonly activations: readonly number[];
  readonly trainToken: number | null;
  readonly repeated: boolean;
}

/** An entry of the picker. */
export interface GraphEntry {
  readonly slug: string;
  readonly scan: string;
  readonly prompt: string;
  /** The prompt's tokens one by one; empty where the file does not say them. */
  readonly tokens: readonly string[];
  readonly titlePrefix: string;
}
