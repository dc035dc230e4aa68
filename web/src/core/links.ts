// Addresses of graph pages, circuit-tracer's and Neuronpedia's: to what they say and back. What a parameter's text means is
// read in `core/view.ts`.

import { circuitTracerPairs, neuronpediaPairs } from "./labels";
import type { Graph, View } from "./types";
import { isKnownParameter, readView, type ViewParts, writeParams, writeSupernodes } from "./view";

export interface Link {
  readonly form: "circuit-tracer" | "neuronpedia";
  /** Of a Neuronpedia path. */
  readonly model: string | null;
  readonly slug: string | null;
  readonly parts: ViewParts;
  /** Every parameter, decoded once. Of a repeated one the last. */
  readonly params: ReadonlyMap<string, string>;
  /** The parameters that mean nothing here, in their order; one without `=` has an empty value. */
  readonly others: readonly (readonly [string, string])[];
  readonly problems: readonly string[];
}

const NEURONPEDIA = /^(?:[a-z]+:)?\/\/(?:[^/]*\.)?neuronpedia\.org(?::\d+)?\/([^/?#]+)\/graph\b/i;
const SLUG = /^[A-Za-z0-9_.-]+/;

/** Reads a pasted address, also one with leftovers of Markdown around it. Never throws. */
export function parseLink(pasted: string): Link {
  const text = address(pasted);
  const model = NEURONPEDIA.exec(text)?.[1] ?? null;
  const pairs = parameters(text);
  const params = new Map(pairs);
  const { parts, problems } = readView(Object.fromEntries(params));
  const slug = SLUG.exec(params.get("slug") ?? "")?.[0] ?? null;
  return {
    form: model === null ? "circuit-tracer" : "neuronpedia",
    model: model === null ? null : decode(model),
    slug,
    parts,
    params,
    others: pairs.filter(([key]) => !isKnownParameter(key)),
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

/** Parameters of an address by name. */
export function query(text: string): Map<string, string> {
  return new Map(parameters(text));
}

/** A name alone, as `&embed`. */
const FLAG = /^[A-Za-z_][\w.-]*$/;

/** Parameters of an address in their order. Labels with a bare `&` or `#`, which some pages write, stay whole. */
function parameters(text: string): [string, string][] {
  const mark = text.indexOf("?");
  if (mark < 0) return [];
  let rest = text.slice(mark + 1);
  const hash = rest.indexOf("#");
  // A fragment ends the query, unless the query plainly goes on behind it.
  if (hash >= 0 && !/[&\]]|%5D/i.test(rest.slice(hash))) rest = rest.slice(0, hash);

  const pieces: string[] = [];
  for (const piece of rest.split("&")) {
    const before = pieces.at(-1);
    // Labels are in brackets; elsewhere a name without a value is a parameter of its own.
    const inLabel = before !== undefined && /\[|%5B/i.test(before);
    const isFlag = FLAG.test(piece) && !inLabel;
    if (before === undefined || /^[A-Za-z_][\w.-]*=/.test(piece) || isFlag) pieces.push(piece);
    else pieces[pieces.length - 1] = `${before}&${piece}`;
  }
  return pieces.flatMap((piece): [string, string][] => {
    const equals = piece.indexOf("=");
    if (equals > 0) return [[decode(piece.slice(0, equals)), decode(piece.slice(equals + 1))]];
    return FLAG.test(piece) ? [[piece, ""]] : [];
  });
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
  const encode = (text: string) => encodeURIComponent(text).replaceAll("%2C", ",");
  return params.map(([key, value]) => (value === "" ? encode(key) : `${encode(key)}=${encode(value)}`)).join("&");
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

/** The most ids that one sentence lists. */
const MOST_LISTED = 5;

/**
 * What of a link of this view Python's library (`decode_url_features`) cannot read, a sentence each. In groups it takes features,
 * errors and outputs alone and stops at anything else; of pins it also takes tokens and leaves the rest out.
 */
export function pythonProblems(view: View): string[] {
  const problems: string[] = [];
  const whole = /^-?\d+_-?\d+_-?\d+$/;
  const names = new Map<string, number>();
  const counts = new Map<string, number>();
  for (const [label, ...members] of writeSupernodes(view)) {
    const strange = members.filter((id) => !whole.test(id));
    if (strange.length > 0) {
      problems.push(`Python’s circuit-tracer cannot read the link: the group “${label}” holds ${some(strange)}.`);
    }
    const n = (counts.get(label) ?? 0) + 1;
    counts.set(label, n);
    const name = n === 1 ? label : `${label} (${n})`;
    names.set(name, (names.get(name) ?? 0) + 1);
  }
  for (const [name, count] of names) {
    if (count > 1) problems.push(`Python’s circuit-tracer reads one of the ${count} groups that it calls “${name}”.`);
  }
  const broken = view.pinned.filter((id) => id.split("_").length === 3 && !/^(E_-?\d+|-?\d+_-?\d+)_-?\d+$/.test(id));
  if (broken.length > 0) problems.push(`Python’s circuit-tracer cannot read the link: pinned is ${some(broken)}.`);
  const left = view.pinned.filter((id) => id.split("_").length !== 3);
  if (left.length > 0) problems.push(`Python’s circuit-tracer leaves out of the pins: ${some(left)}.`);
  return problems;
}

function some(ids: readonly string[]): string {
  const more = ids.length > MOST_LISTED ? ` and ${ids.length - MOST_LISTED} more` : "";
  return `${ids.slice(0, MOST_LISTED).join(", ")}${more}`;
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
