// The grid finds what a search through all points finds.

import { expect, it } from "vitest";
import { random } from "../../fixtures/generate";
import { HitGrid } from "./hit";

it("finds the nearest of all within the radius, also outside the plot", () => {
  const next = random(7);
  const n = 500;
  const x = Float32Array.from({ length: n }, (_, i) => (i % 10 === 3 ? Number.NaN : next() * 800));
  const y = Float32Array.from({ length: n }, () => next() * 300);
  const grid = new HitGrid(x, y, 800, 300, 30);
  let found = 0;
  for (let trial = 0; trial < 2000; trial++) {
    const px = next() * 900 - 50;
    const py = next() * 400 - 50;
    let best: number | null = null;
    let distance = 30;
    for (let i = 0; i < n; i++) {
      const d = Math.hypot(x[i] - px, y[i] - py);
      if (d < distance) {
        best = i;
        distance = d;
      }
    }
    expect(grid.nearest(px, py)).toBe(best);
    if (best !== null) found++;
  }
  expect(found).toBeGreaterThan(1000);
});

it("finds nothing among no points", () => {
  expect(new HitGrid(new Float32Array(0), new Float32Array(0), 0, 0, 30).nearest(1, 1)).toBeNull();
});
