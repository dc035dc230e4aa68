// Feature records, full and minimal, to what a feature's page shows; and the small numbers that page derives from them.

import { isObject } from "./read";
import type { FeatureExample, FeatureRecord } from "./types";

/** The colour scale where a record does not say its own. */
const DEFAULT_RANGE = { min: 0, max: 1.4 } as const;
/** A character of UTF-8 has four bytes at most; one more token is looked at for tokens that hold an empty text. */
const MAX_JOINED = 5;

/** Reads a record; null where the JSON is none. */
export function readRecord(json: unknown): FeatureRecord | null {
  if (!isObject(json) || !Array.isArray(json.examples_quantiles)) return null;
  const min = number(json.act_min);
  const max = number(json.act_max);
  return {
    index: number(json.index) ?? 0,
    examples: json.examples_quantiles.filter(isObject).map((group) => ({
      name: typeof group.quantile_name === "string" ? group.quantile_name : "",
      examples: (Array.isArray(group.examples) ? group.examples : []).filter(isObject).map(readExample),
    })),
    topLogits: strings(json.top_logits),
    bottomLogits: strings(json.bottom_logits),
    actMin: min === null ? DEFAULT_RANGE.min : min,
    actMax: min === null ? DEFAULT_RANGE.max : (max ?? DEFAULT_RANGE.max),
    quantileValues: numbers(json.quantile_values),
    histogram: numbers(json.histogram),
    frequency: number(json.activation_frequency),
    automaticLabel: typeof json.automatic_label === "string" ? automatic(json.automatic_label) : null,
  };
}

/** The label without the word that marks it in the file: the page has a mark of its own. */
function automatic(label: string): string | null {
  return label.replace(/^automatic:\s*/, "").trim() || null;
}

function readExample(example: Readonly<Record<string, unknown>>): FeatureExample {
  const tokens = strings(example.tokens);
  const values = Array.isArray(example.tokens_acts_list) ? example.tokens_acts_list : [];
  const activations = tokens.map((_, i) => number(values[i]) ?? 0);
  const train = number(example.train_token_ind);
  return joinBytes({
    tokens,
    activations,
    trainToken: train !== null && train >= 0 && train < tokens.length ? Math.floor(train) : null,
    repeated: example.is_repeated_datapoint === true,
  });
}

/** Joins tokens that hold the bytes of one character, such as `\xe2`, `\x80`, `\x94`; the largest activation stays. */
export function joinBytes(example: FeatureExample): FeatureExample {
  if (!example.tokens.some((token) => token.includes("\\x"))) return example;
  const tokens: string[] = [];
  const activations: number[] = [];
  let trainToken: number | null = null;
  for (let i = 0; i < example.tokens.length; ) {
    let taken = 1;
    let text = example.tokens[i];
    if (text.includes("\\x")) {
      for (let n = 1; n <= MAX_JOINED && i + n <= example.tokens.length; n++) {
        const joined = fromBytes(example.tokens.slice(i, i + n).join(""));
        if (joined !== null) {
          taken = n;
          text = joined;
          break;
        }
      }
    }
    if (example.trainToken !== null && example.trainToken >= i && example.trainToken < i + taken) trainToken = tokens.length;
    tokens.push(text);
    activations.push(Math.max(...example.activations.slice(i, i + taken)));
    i += taken;
  }
  return { ...example, tokens, activations, trainToken };
}

/** A text with its byte escapes decoded; null where they are no UTF-8 (yet). */
function fromBytes(text: string): string | null {
  const encoder = new TextEncoder();
  const bytes: number[] = [];
  for (const [part, hex] of text.matchAll(/\\x([0-9a-f]{2})|[^\\]+|\\/gi)) {
    if (hex !== undefined) bytes.push(Number.parseInt(hex, 16));
    else bytes.push(...encoder.encode(part));
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
  } catch {
    return null;
  }
}

/** Percentile of an activation: one more than the place of the first quantile not below it, 100 above all. */
export function percentile(record: FeatureRecord, activation: number): number | null {
  if (record.quantileValues.length === 0) return null;
  const at = record.quantileValues.findIndex((value) => value >= activation);
  return at < 0 ? 100 : at + 1;
}

/** The bar of the histogram that an activation falls into. */
export function histogramBin(record: FeatureRecord, activation: number): number | null {
  const bins = record.histogram.length;
  if (bins === 0) return null;
  const span = record.actMax - record.actMin;
  if (!(span > 0)) return 0;
  return Math.min(bins - 1, Math.max(0, Math.floor(((activation - record.actMin) / span) * bins)));
}

function number(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function numbers(value: unknown): number[] {
  return Array.isArray(value) ? value.map((item) => number(item) ?? 0) : [];
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.map((item) => (typeof item === "string" ? item : String(item ?? ""))) : [];
}
