// The page's own address: what it asks for, and keeping it in step with the view. Small changes replace the entry of the
// browser's history, another graph makes a new one.
//
// The entry's state holds the whole view besides, so that a reload also brings back what no parameter says (places). Parameters
// that mean nothing here are written back as they came.

import { encodeQuery, parseLink } from "../core/links";
import { isObject } from "../core/read";
import type { Graph, View } from "../core/types";
import { readView, type ViewParts, writeAddress, writeView } from "../core/view";

/** What an address asks for. */
export interface Asked {
  readonly slug: string | null;
  readonly parts: ViewParts;
  /** Whether `parts` are a whole view, which the file's then does not shine through. */
  readonly whole: boolean;
  readonly problems: readonly string[];
}

export type Surface = Pick<Window, "location" | "history">;

export class Address {
  private written: string | null = null;
  /** Parameters of others, with every address that is written. */
  private others: readonly (readonly [string, string])[] = [];

  constructor(private readonly page: Surface) {}

  read(): Asked {
    const link = parseLink(this.page.location.href);
    this.others = link.others;
    const state: unknown = this.page.history.state;
    const kept = isObject(state) && isObject(state.circuit) ? state.circuit : null;
    if (kept !== null && kept.slug === link.slug && isObject(kept.view)) {
      const { logitDiff } = link.parts;
      return { slug: link.slug, parts: { ...readView(kept.view).parts, logitDiff }, whole: true, problems: [] };
    }
    return { slug: link.slug, parts: link.parts, whole: false, problems: link.problems };
  }

  /** The page without parameters: what links to it start with. */
  get base(): string {
    const { origin, pathname } = this.page.location;
    return `${origin}${pathname}`;
  }

  /** Whether the address still says what was last written: a jump within the page changes the fragment alone. */
  get unchanged(): boolean {
    return this.written !== null && this.page.location.search === this.written;
  }

  /** A new entry for a graph that is about to be opened. */
  push(slug: string): void {
    this.put("pushState", null, `?${encodeQuery([["slug", slug], ...this.others])}`, "");
  }

  replace(graph: Graph, view: View, saved: View): void {
    const own: [string, string][] = [["slug", graph.slug], ...writeAddress(graph, view, saved)];
    const search = `?${encodeQuery([...own, ...this.others])}`;
    this.put("replaceState", { circuit: { slug: graph.slug, view: writeView(graph, view) } }, search, this.page.location.hash);
  }

  clear(): void {
    this.put("replaceState", null, this.others.length > 0 ? `?${encodeQuery(this.others)}` : "", "");
  }

  private put(how: "pushState" | "replaceState", state: unknown, search: string, hash: string): void {
    try {
      this.page.history[how](state, "", `${this.page.location.pathname}${search}${hash}`);
      this.written = search;
    } catch {
      // Browsers refuse too many writes in a short time; the next change writes it all again.
    }
  }
}
