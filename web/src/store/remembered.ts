// Labels that this browser remembers, per scan: a label given to a feature in one graph names it in every graph of that scan.

import { featureOfKey, type Labels, newKey, rememberedKey, scanOf } from "../core/labels";
import { isObject } from "../core/read";
import type { Graph } from "../core/types";

export type Storage = Pick<globalThis.Storage, "getItem" | "setItem" | "removeItem">;

const PREFIX = "circuit-tracer.labels.";

export class RememberedLabels {
  constructor(private readonly storage: Storage | null) {}

  /** The labels that a graph's features have from before, by the keys of a view. */
  of(graph: Graph): Map<string, string> {
    const found = new Map<string, string>();
    const scans = new Map<string, Record<string, string>>();
    for (const node of graph.nodes) {
      const key = rememberedKey(node);
      if (key === null) continue;
      const scan = scanOf(graph, node);
      let labels = scans.get(scan);
      if (labels === undefined) {
        labels = this.read(scan);
        scans.set(scan, labels);
      }
      if (Object.hasOwn(labels, key)) found.set(newKey(node), labels[key]);
    }
    return found;
  }

  /** Keys whose labels were given in this page. Those of a link are shown, but never remembered. */
  private readonly own = new Set<string>();

  /**
   * Remembers what changed from one set of labels to the next: all of it after an edit, else (undo, redo) what was edited
   * here before. Labels of a single position are the graph's own affair.
   */
  follow(graph: Graph, before: Labels, after: Labels, edit: boolean): void {
    if (before === after) return;
    const changes = new Map<string, Map<string, string | null>>();
    for (const key of new Set([...before.keys(), ...after.keys()])) {
      if (before.get(key) === after.get(key)) continue;
      if (edit) this.own.add(key);
      else if (!this.own.has(key)) continue;
      const node = featureOfKey(graph, key);
      const name = node === null ? null : rememberedKey(node);
      if (node === null || name === null) continue;
      const scan = scanOf(graph, node);
      const changed = changes.get(scan) ?? new Map<string, string | null>();
      changed.set(name, after.get(key) ?? null);
      changes.set(scan, changed);
    }
    for (const [scan, changed] of changes) {
      const labels = this.read(scan);
      for (const [name, label] of changed) {
        if (label === null) delete labels[name];
        else labels[name] = label;
      }
      this.write(scan, labels);
    }
  }

  private read(scan: string): Record<string, string> {
    const labels: Record<string, string> = {};
    try {
      const json: unknown = JSON.parse(this.storage?.getItem(PREFIX + scan) ?? "null");
      if (isObject(json)) {
        for (const [key, label] of Object.entries(json)) if (typeof label === "string") labels[key] = label;
      }
    } catch {
      // Storage that is refused or damaged holds no labels.
    }
    return labels;
  }

  private write(scan: string, labels: Record<string, string>): void {
    try {
      if (Object.keys(labels).length === 0) this.storage?.removeItem(PREFIX + scan);
      else this.storage?.setItem(PREFIX + scan, JSON.stringify(labels));
    } catch {
      // Full or refused: the label still stands in the view, and is saved with it.
    }
  }
}
