// Each kind has a shape of its own.

import { expect, it } from "vitest";
import type { NodeKind } from "../core/types";
import { glyphPath } from "./glyphs";

const KINDS: NodeKind[] = ["feature", "error", "token", "logit", "attention", "bias", "unknown"];

it("tokens and logits share the square, the rest differ", () => {
  const shapes = KINDS.map((kind) => glyphPath(kind, 5));
  expect(glyphPath("token", 5)).toBe(glyphPath("logit", 5));
  expect(new Set(shapes).size).toBe(KINDS.length - 1);
  for (const shape of shapes) expect(shape).toMatch(/^M[-\d. MLAhvZ]+$/);
});

it("a feature is a whole circle", () => {
  expect(glyphPath("feature", 5)).toBe("M5 0A5 5 0 0 1 -5 0A5 5 0 0 1 5 0");
});
