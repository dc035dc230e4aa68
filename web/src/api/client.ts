// The server's routes as typed functions. One request each: no caching, no retry, no state.

import { isObject } from "../core/read";
import type { GraphEntry, Scores } from "../core/types";

/** One thing that is wrong with an uploaded file. */
export interface Problem {
  readonly path: string;
  readonly reason: string;
}

/** What the server, or the network, said instead of an answer. The message is a sentence for users. */
export class ApiError extends Error {
  constructor(
    /** 0 where no answer came. */
    readonly status: number,
    readonly code: string,
    message: string,
    /** Of a conflict: the version that is there now. */
    readonly etag: string | null = null,
    readonly problems: readonly Problem[] = [],
  ) {
    super(message);
  }

  /** Whether asking again may help. */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export interface GraphFile {
  readonly bytes: Uint8Array;
  readonly etag: string | null;
}

export interface Api {
  entries(signal?: AbortSignal): Promise<GraphEntry[]>;
  graph(slug: string, signal?: AbortSignal): Promise<GraphFile>;
  /** The version of a graph's file as it is now. */
  etag(slug: string): Promise<string | null>;
  saveView(slug: string, view: Record<string, unknown>, etag: string): Promise<{ etag: string }>;
  upload(file: Blob, overwrite: boolean): Promise<{ slug: string }>;
  rename(slug: string, to: string): Promise<{ slug: string; etag: string | null }>;
  remove(slug: string, etag: string | null): Promise<void>;
  scores(slug: string, pinned: readonly string[], signal?: AbortSignal): Promise<{ graph: Scores; subgraph: Scores }>;
  /** The record's JSON; read by `core/record.ts`. */
  feature(scan: string, layer: number, index: number, signal?: AbortSignal): Promise<unknown>;
}

/** The routes below `base`, an address that ends with a slash. */
export function createApi(base: string, fetcher: typeof fetch = (...args) => fetch(...args)): Api {
  const at = (path: string) => new URL(`api/v1/${path}`, base).href;
  const graphAt = (slug: string, rest = "") => at(`graphs/${encodeURIComponent(slug)}${rest}`);

  async function ask(address: string, options: RequestInit = {}): Promise<Response> {
    let response: Response;
    try {
      response = await fetcher(address, options);
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new ApiError(0, "unreachable", "The server cannot be reached.");
    }
    if (!response.ok) throw await errorOf(response);
    return response;
  }

  async function askJson(address: string, options?: RequestInit): Promise<Record<string, unknown>> {
    const response = await ask(address, options);
    let json: unknown;
    try {
      json = await response.json();
    } catch {
      throw new ApiError(response.status, "not_json", "The server's answer is not JSON.");
    }
    if (!isObject(json)) throw new ApiError(response.status, "not_json", "The server's answer is not an object.");
    return json;
  }

  const sent = (method: string, body: unknown, headers: Record<string, string> = {}): RequestInit => ({
    method,
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
  });

  return {
    async entries(signal) {
      const { graphs } = await askJson(at("graphs"), { signal: signal ?? null });
      return (Array.isArray(graphs) ? graphs : []).filter(isObject).map((entry) => ({
        slug: String(entry.slug ?? ""),
        scan: String(entry.scan ?? ""),
        prompt: String(entry.prompt ?? ""),
        tokens: Array.isArray(entry.prompt_tokens) ? entry.prompt_tokens.map(String) : [],
        titlePrefix: String(entry.title_prefix ?? ""),
      }));
    },

    async graph(slug, signal) {
      const response = await ask(graphAt(slug), { signal: signal ?? null });
      return { bytes: new Uint8Array(await response.arrayBuffer()), etag: response.headers.get("ETag") };
    },

    async etag(slug) {
      return (await ask(graphAt(slug), { method: "HEAD" })).headers.get("ETag");
    },

    async saveView(slug, view, etag) {
      const response = await ask(graphAt(slug, "/view"), sent("PUT", view, { "If-Match": etag }));
      const header = response.headers.get("ETag");
      const json: unknown = header === null ? await response.json() : null;
      return { etag: header ?? String(isObject(json) ? json.etag : "") };
    },

    async upload(file, overwrite) {
      const json = await askJson(at(overwrite ? "graphs?overwrite=true" : "graphs"), {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: file,
      });
      return { slug: String(json.slug) };
    },

    async rename(slug, to) {
      const json = await askJson(graphAt(slug, "/rename"), sent("POST", { slug: to }));
      return { slug: String(json.slug ?? to), etag: typeof json.etag === "string" ? json.etag : null };
    },

    async remove(slug, etag) {
      await ask(graphAt(slug), { method: "DELETE", headers: etag === null ? {} : { "If-Match": etag } });
    },

    async scores(slug, pinned, signal) {
      const json = await askJson(graphAt(slug, "/scores"), { ...sent("POST", { pinned }), signal: signal ?? null });
      return { graph: scoresOf(json.graph), subgraph: scoresOf(json.subgraph) };
    },

    async feature(scan, layer, index, signal) {
      return askJson(at(`features/${layer}/${index}?scan=${encodeURIComponent(scan)}`), { signal: signal ?? null });
    },
  };
}

function scoresOf(json: unknown): Scores {
  const of = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? value : null);
  return isObject(json)
    ? { replacement: of(json.replacement), completeness: of(json.completeness) }
    : { replacement: null, completeness: null };
}

async function errorOf(response: Response): Promise<ApiError> {
  let error: unknown = null;
  try {
    const json: unknown = await response.json();
    error = isObject(json) ? json.error : null;
  } catch {
    // A body that is not ours: a proxy's page, or none.
  }
  if (!isObject(error)) {
    return new ApiError(
      response.status,
      "http",
      `The server answered ${response.status} ${response.statusText}.`.replace(" .", "."),
    );
  }
  const problems = Array.isArray(error.problems)
    ? error.problems.filter(isObject).map(({ path, reason }) => ({ path: String(path ?? ""), reason: String(reason ?? "") }))
    : [];
  return new ApiError(
    response.status,
    String(error.code ?? "http"),
    String(error.message ?? `The server answered ${response.status}.`),
    typeof error.etag === "string" ? error.etag : null,
    problems,
  );
}
