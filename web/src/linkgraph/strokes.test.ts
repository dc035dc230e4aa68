// Order, levels and widths of links.

import { describe, expect, it } from "vitest";
import { LEVELS, level, linkWidth, makeScale } from "./colours";
import { byStrength } from "./order";
import { gather } from "./strokes";

describe("the scale", () => {
  const scale = makeScale("#d9d8d2", "#1b7837", "#762a83", false, true);

  it("is full from 40 % on and never as pale as the ground", () => {
    expect(level(0.4)).toBe(LEVELS - 1);
    expect(scale.colour(0.4)).toBe(scale.colour(0.9));
    expect(scale.colour(0.001)).not.toBe("rgb(247, 247, 247)");
  });

  it("has green for positive, purple for negative", () => {
    const [r, g, b] = (scale.colour(0.4).match(/\d+/g) ?? []).map(Number);
    expect(g).toBeGreaterThan(r);
    expect(g).toBeGreaterThan(b);
    const [nr, ng, nb] = (scale.colour(-0.4).match(/\d+/g) ?? []).map(Number);
    expect(ng).toBeLessThan(nr);
    expect(ng).toBeLessThan(nb);
  });

  it("has an ink that reads on every colour", () => {
    expect(scale.ink(0.9)).toBe("#ffffff");
    expect(scale.ink(0.001)).toBe("#000000");
  });

  it("gives the same colours to WebGL", () => {
    const last = [...scale.positive.slice(-3)].map((c) => Math.round(c * 255));
    expect(`rgb(${last.join(", ")})`).toBe(scale.colour(1));
  });
});

it("widths go by the square root, up to 3", () => {
  expect(linkWidth(0.25)).toBeCloseTo(1.5);
  expect(linkWidth(-1)).toBe(3);
  expect(linkWidth(7)).toBe(3);
});

it("links are gathered by sign and level without losing their order", () => {
  const share = Float64Array.of(0.01, -0.01, 0.011, 0.9, 0.4, -0.2);
  const buckets = gather(Uint32Array.of(0, 2, 1, 5, 4, 3), share);
  expect(buckets.reduce((sum, bucket) => sum + bucket.length, 0)).toBe(6);
  expect([...buckets[0]]).toEqual([0, 2]);
  expect([...buckets[1]]).toEqual([1]);
  expect([...buckets[2 * (LEVELS - 1)]]).toEqual([4, 3]);
});

it("all shown links come weakest first, and a limit keeps the strongest", () => {
  const share = Float64Array.of(0.5, -0.9, 0.1, 0.02, Number.NaN);
  expect([...byStrength(Uint8Array.of(1, 1, 1, 0, 0), share)]).toEqual([2, 0, 1]);
  expect([...byStrength(Uint8Array.of(1, 1, 1, 1, 1), share, 2)]).toEqual([0, 1]);
});
