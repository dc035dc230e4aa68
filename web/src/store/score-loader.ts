// Asks the server for the scores of a graph and of the subgraph that is pinned, once pinning has come to rest.

import { type Signal, signal } from "@preact/signals";
import type { Api } from "../api/client";
import type { NodeId, Scores } from "../core/types";
import type { Load } from "./store";

export type BothScores = { readonly graph: Scores; readonly subgraph: Scores };

const REST_MS = 400;

export class ScoreLoader {
  readonly state: Signal<Load<BothScores>> = signal<Load<BothScores>>({ state: "empty" });
  private timer: ReturnType<typeof setTimeout> | undefined;
  private running: AbortController | null = null;

  constructor(private readonly api: Pick<Api, "scores">) {}

  want(graph: { slug: string; pinned: readonly NodeId[] } | null): void {
    clearTimeout(this.timer);
    this.running?.abort();
    this.running = null;
    if (graph === null) {
      this.state.value = { state: "empty" };
      return;
    }
    this.state.value = { state: "loading" };
    this.timer = setTimeout(() => void this.load(graph), REST_MS);
  }

  private async load(graph: { slug: string; pinned: readonly NodeId[] }): Promise<void> {
    const running = new AbortController();
    this.running = running;
    let result: Load<BothScores>;
    try {
      result = { state: "ready", value: await this.api.scores(graph.slug, graph.pinned, running.signal) };
    } catch (error) {
      result = {
        state: "error",
        message: error instanceof Error ? error.message : String(error),
        retry: () => this.want(graph),
      };
    }
    if (!running.signal.aborted) this.state.value = result;
  }
}
