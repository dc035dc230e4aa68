// The order of the lines.

import { expect, test } from "vitest";
import { sorted } from "./node-connections";

const list = [
  { node: 0, weight: -4, pctInput: -0.1 },
  { node: 1, weight: 1, pctInput: 0.3 },
  { node: 2, weight: 2, pctInput: 0.05 },
  { node: 3, weight: Number.NaN, pctInput: Number.NaN },
  { node: 4, weight: 1, pctInput: 0.3 },
];
const order = (key: "weight" | "pctInput", descending: boolean) => sorted(list, { key, descending }).map(({ node }) => node);

test("by share: positive first, negative after, what is no number last, equal ones as they came", () => {
  expect(order("pctInput", true)).toEqual([1, 4, 2, 0, 3]);
});

test("by weight, and either way round", () => {
  expect(order("weight", true)).toEqual([2, 1, 4, 0, 3]);
  expect(order("weight", false)).toEqual([0, 1, 4, 2, 3]);
});
