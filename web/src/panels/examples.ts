// Text windows of a feature cut around the token they are centred on, with neighbours of equal activation joined, so that a
// window costs a few elements instead of one per token. Byte escapes are already characters (`core/record.ts`). No markup.

import type { FeatureExample } from "../core/types";

export interface Run {
  readonly text: string;
  readonly activation: number;
}

export interface Window {
  readonly before: readonly Run[];
  readonly train: Run | null;
  readonly after: readonly Run[];
  readonly repeated: boolean;
}

/** The token a window is centred on: the one the record names, else the strongest. */
function centre({ trainToken, tokens, activations }: FeatureExample): number | null {
  if (trainToken !== null && trainToken >= 0 && trainToken < tokens.length) return trainToken;
  let best: number | null = null;
  for (let i = 0; i < tokens.length; i++) {
    if ((activations[i] ?? 0) > (best === null ? 0 : activations[best]!)) best = i;
  }
  return best;
}

function runs({ tokens, activations }: FeatureExample, from: number, to: number): Run[] {
  const list: { text: string; activation: number }[] = [];
  for (let i = from; i < to; i++) {
    const activation = activations[i] ?? 0;
    const last = list.at(-1);
    if (last !== undefined && last.activation === activation) last.text += tokens[i]!;
    else list.push({ text: tokens[i]!, activation });
  }
  return list;
}

export function windowOf(example: FeatureExample): Window {
  const { tokens, repeated } = example;
  const at = centre(example);
  if (at === null) return { before: [], train: null, after: runs(example, 0, tokens.length), repeated };
  return {
    before: runs(example, 0, at),
    train: { text: tokens[at]!, activation: example.activations[at] ?? 0 },
    after: runs(example, at + 1, tokens.length),
    repeated,
  };
}

/** Strength of an activation on the colour scale of a feature, 0 to 1; none for what is not active. */
export function strength(activation: number, min: number, max: number): number {
  if (!(activation > 0)) return 0;
  const range = max - min;
  if (!(range > 0)) return 1;
  return Math.min(1, Math.max(0, (activation - min) / range));
}
