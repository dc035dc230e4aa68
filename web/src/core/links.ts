// Addresses of graph pages, circuit-tracer's and Neuronpedia's: to what they say and back. What a parameter's text means is
// read in `core/view.ts`.

import { circuitTracerPairs, neuronpediaPairs } from "./labels";
import type { Graph, View } from "./types";
import { readView, type ViewParts, writeParams } from "./view";

export interface Link {
  readonly form: "circuit-tracer" | "neuronpedia";
  /** Of a Neuronpedia path. */
  readonly model: string | null;
  readonly slug: string | null;
  readonly parts: ViewParts;
  /** Every parameter, decoded once. Of a repeated one the last. */
  readonly params: ReadonlyMap<string, string>;
  readonly problems: readonly string[];
}

const NEURONPEDIA = /^(?:[a-z]+:)?\/\/(?:[^/]*\.)?neuronpedia\.org(?::\d+)?\/([^/?#]+)\/graph\b/i;
const SLUG = /^[A-Za-z0-9_.-]+/;

/** Reads a pasted address, also one with leftovers of Markdown around it. Never throws. */
export function parseLink(pasted: string): Link {
  const text = address(pasted);
  const model = NEURONPEDIA.exec(text)?.[1] ?? null;
  const params = query(text);
  const { parts, problems } = readView(Object.fromEntries(params));
  const slug = SLUG.exec(params.get("slug") ?? "")?.[0] ?? null;
  return {
    form: model === null ? "circuit-tracer" : "neuronpedia",
    model: model === null ? null : decode(model),
    slug,
    parts,
    params,
    problems,
  };
}

/** The address in what was pasted: of `[text](address)` and `<address>` the inside. */
function address(pasted: string): string {
  const text = pasted.trim();
  const start = /[a-z][a-z0-9+.-]*:\/\//i.exec(text);
  if (start === null) return text;
  const opened = text[start.index - 1];
  const rest = text.slice(start.index);
  const closed = opened === "<" ? rest.indexOf(">") : opened === '"' ? rest.indexOf('"') : -1;
  return closed < 0 ? rest : rest.slice(0, closed);
}

/** Parameters of an address. Labels with a bare `&` or `#`, which some pages write, stay whole. */
export function query(text: string): Map<string, string> {
  const params = new Map<string, string>();
  const mark = text.indexOf("?");
  if (mark < 0) return params;
  let rest = text.slice(mark + 1);
  const hash = rest.indexOf("#");
  // A fragment ends the query, unless the query plainly goes on behind it.
  if (hash >= 0 && !/[&\]]|%5D/i.test(rest.slice(hash))) rest = rest.slice(0, hash);

  const pieces: string[] = [];
  for (const piece of rest.split("&")) {
    if (pieces.length === 0 || /^[A-Za-z_][\w.-]*=/.test(piece)) pieces.push(piece);
    else pieces[pieces.length - 1] += `&${piece}`;
  }
  for (const piece of pieces) {
    const equals = piece.indexOf("=");
    if (equals > 0) params.set(decode(piece.slice(0, equals)), decode(piece.slice(equals + 1)));
  }
  return params;
}

/** Percent escapes and `+`; an escape that is none stays as it is. */
function decode(text: string): string {
  const spaced = text.replace(/\+/g, " ");
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced.replace(/(?:%[0-9a-f]{2})+/gi, (escapes) => {
      try {
        return decodeURIComponent(escapes);
      } catch {
        return escapes;
      }
    });
  }
}

/** A query as text. Commas stay readable; they mean nothing to an address. */
export function encodeQuery(params: readonly (readonly [string, string])[]): string {
  return params.map(([key, value]) => `${key}=${encodeURIComponent(value).replaceAll("%2C", ",")}`).join("&");
}

/** A link for the page at `base` and for circuit-tracer's own, which reads the same parameters. */
export function circuitTracerLink(base: string, graph: Graph, view: View): string {
  const params = writeParams(graph, view, circuitTracerPairs(graph, view.labels));
  return `${base}?${encodeQuery([["slug", graph.slug], ...params])}`;
}

/** A link for Neuronpedia. Its scan is a model's id and may not hold what a repository's name may. */
export function neuronpediaLink(graph: Graph, view: View): string {
  const model = graph.scan.replace(/[^A-Za-z0-9_.-]+/g, "-") || "model";
  const params = writeParams(graph, view, neuronpediaPairs(graph, view.labels));
  return `https://www.neuronpedia.org/${model}/graph?${encodeQuery([["slug", graph.slug], ...params])}`;
}

/** A feature as the Python library's tools count it; tokens have layer -1 and their id as index. */
export interface Place {
  readonly layer: number;
  readonly position: number;
  readonly index: number;
}

/** Groups and single nodes of a link, as `decode_url_features` gives them; groups whose label repeats are numbered. */
export function linkFeatures(link: Pick<Link, "parts">): {
  groups: ReadonlyMap<string, readonly Place[]>;
  singles: readonly Place[];
} {
  const groups = new Map<string, Place[]>();
  for (const { label, members } of link.parts.supernodes ?? []) {
    let name = label;
    for (let n = 2; groups.has(name); n++) name = `${label} (${n})`;
    groups.set(name, members.map(place).filter(isPlace));
  }
  return { groups, singles: (link.parts.pinned ?? []).map(place).filter(isPlace) };
}

function place(id: string): Place | null {
  const match = /^(\d+|E)_(-?\d+)_(\d+)$/.exec(id);
  if (match === null) return null;
  return { layer: match[1] === "E" ? -1 : Number(match[1]), position: Number(match[3]), index: Number(match[2]) };
}

function isPlace(found: Place | null): found is Place {
  return found !== null;
}
