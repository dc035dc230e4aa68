// Loads the record of the feature that is pointed at: late enough not to follow every move of the pointer, never showing the
// record of another feature, and each record once.

import { type Signal, signal } from "@preact/signals";
import { type Api, ApiError } from "../api/client";
import { readRecord } from "../core/record";
import type { FeatureRecord } from "../core/types";
import type { Load } from "./store";

export interface FeatureTarget {
  readonly scan: string;
  readonly layer: number;
  readonly index: number;
}

/** A pointer that rests this long on a node wants its record. */
const REST_MS = 90;
const MOST_KEPT = 400;

export class FeatureLoader {
  readonly state: Signal<Load<FeatureRecord>> = signal<Load<FeatureRecord>>({ state: "empty" });
  private readonly kept = new Map<string, Load<FeatureRecord>>();
  private wanted: string | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private running: AbortController | null = null;

  constructor(private readonly api: Pick<Api, "feature">) {}

  want(target: FeatureTarget | null): void {
    const key = target === null ? null : JSON.stringify([target.scan, target.layer, target.index]);
    if (key === this.wanted) return;
    this.wanted = key;
    clearTimeout(this.timer);
    this.running?.abort();
    this.running = null;
    if (target === null || key === null) {
      this.state.value = { state: "empty" };
      return;
    }
    const known = this.kept.get(key);
    if (known !== undefined) {
      this.state.value = known;
      return;
    }
    this.state.value = { state: "loading" };
    this.timer = setTimeout(() => void this.load(target, key), REST_MS);
  }

  private async load(target: FeatureTarget, key: string): Promise<void> {
    const running = new AbortController();
    this.running = running;
    let result: Load<FeatureRecord>;
    let lasting = true;
    try {
      const record = readRecord(await this.api.feature(target.scan, target.layer, target.index, running.signal));
      result =
        record === null
          ? { state: "error", message: "The record of this feature has a form that cannot be read." }
          : { state: "ready", value: record };
    } catch (error) {
      if (running.signal.aborted) return;
      const again = () => {
        if (this.wanted !== key) return;
        this.state.value = { state: "loading" };
        void this.load(target, key);
      };
      lasting = error instanceof ApiError && !error.passing;
      const message = error instanceof Error ? error.message : String(error);
      // Asking again gives the same answer while the set has no record.
      result = lasting ? { state: "error", message } : { state: "error", message, retry: again };
    }
    if (lasting) this.keep(key, result);
    if (this.wanted === key && !running.signal.aborted) this.state.value = result;
  }

  private keep(key: string, result: Load<FeatureRecord>): void {
    this.kept.set(key, result);
    if (this.kept.size <= MOST_KEPT) return;
    const oldest = this.kept.keys().next();
    if (!oldest.done) this.kept.delete(oldest.value);
  }
}
