// How a text window is cut and joined.

import { expect, test } from "vitest";
import type { FeatureExample } from "../core/types";
import { strength, windowOf } from "./examples";

function example(tokens: string[], activations: number[], trainToken: number | null): FeatureExample {
  return { tokens, activations, trainToken, repeated: false };
}

test("a window is cut at its train token, and neighbours of equal activation are one run", () => {
  const cut = windowOf(example(["a", " b", " c", " d", " e", " f"], [0, 0, 1, 5, 1, 1], 3));
  expect(cut.before).toEqual([
    { text: "a b", activation: 0 },
    { text: " c", activation: 1 },
  ]);
  expect(cut.train).toEqual({ text: " d", activation: 5 });
  expect(cut.after).toEqual([{ text: " e f", activation: 1 }]);
});

test("the train token stays apart from a neighbour with the same activation", () => {
  const cut = windowOf(example(["x", "x", "x"], [2, 2, 2], 1));
  expect(cut.train).toEqual({ text: "x", activation: 2 });
  expect(cut.before).toHaveLength(1);
  expect(cut.after).toHaveLength(1);
});

test("without a train token the strongest is in the middle, and without any activation nothing is", () => {
  expect(windowOf(example(["a", "b", "c"], [0, 1, 3], null)).train?.text).toBe("c");
  expect(windowOf(example(["a", "b"], [0, 0], null))).toEqual({
    before: [],
    train: null,
    after: [{ text: "ab", activation: 0 }],
    repeated: false,
  });
});

test("a train token outside the window does no harm", () => {
  expect(windowOf(example(["a", "b"], [0, 1], 7)).train?.text).toBe("b");
});

test("strength runs from the least to the largest activation; what is not active has none", () => {
  expect(strength(0, 0, 4)).toBe(0);
  expect(strength(2, 0, 4)).toBe(0.5);
  expect(strength(9, 0, 4)).toBe(1);
  expect(strength(-1, -2, 4)).toBe(0);
  expect(strength(1, 1, 1)).toBe(1);
});
