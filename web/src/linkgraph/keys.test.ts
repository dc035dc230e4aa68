// Where the window on the plot goes so that a node is in sight.

import { expect, test } from "vitest";
import { nearest } from "./keys";

test("a place in sight moves nothing", () => {
  expect(nearest(100, 0, 400, 400)).toBe(0);
  expect(nearest(300, 120, 400, 2000)).toBe(120);
});

test("a place near an edge moves nothing where there is nothing beyond the edge", () => {
  expect(nearest(3, 0, 400, 400)).toBe(0);
  expect(nearest(398, 0, 400, 400.6)).toBe(0);
  expect(nearest(1999, 1600, 400, 2000)).toBe(1600);
});

test("a place out of sight comes in by the shortest way", () => {
  expect(nearest(1000, 0, 400, 2000)).toBe(624);
  expect(nearest(500, 800, 400, 2000)).toBe(476);
});
