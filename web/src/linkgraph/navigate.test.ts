// Arrow keys go where the eye would.

import { expect, it } from "vitest";
import { type Direction, neighbour } from "./navigate";

//  3       4
//  0   1   2      5 is far right and a little lower than 2
const x = [0, 20, 40, 0, 40, 200, Number.NaN];
const y = [100, 100, 100, 60, 60, 130, 100];

it.each<[number, Direction, number | null]>([
  [0, "right", 1],
  [1, "right", 2],
  [2, "right", 5],
  [1, "left", 0],
  [0, "left", null],
  [0, "up", 3],
  [2, "up", 4],
  [3, "down", 0],
  [4, "up", null],
])("from %i %s to %s", (from, direction, to) => {
  expect(neighbour(x, y, from, direction)).toBe(to);
});

it("goes aside where nothing lies straight ahead", () => {
  expect(neighbour([0, 500], [100, 90], 0, "up")).toBe(1);
});
