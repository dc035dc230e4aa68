// Texts of logits, however awkward the token is.

import { describe, expect, it } from "vitest";
import { displayToken, logitText, parseLogitLabel } from "./tokens";

describe("parseLogitLabel", () => {
  it.each([
    ['Output " Austin" (p=0.412)', " Austin", 0.412],
    ['Output """ (p=0.100)', '"', 0.1],
    ['Output " (p=" (p=0.200)', " (p=", 0.2],
    ['Output "a" (p=0.5" (p=0.3)', 'a" (p=0.5', 0.3],
    ['Output "" (p=1.000)', "", 1],
    ['Output " " (p=0.9)', " ", 0.9],
    ['Output "\n" (p=0.05)', "\n", 0.05],
    ['Logit "x" (p=0.25)', "x", 0.25],
    ["output: 'it' (p=0.7)", "it", 0.7],
    ['say "hello"', "hello", null],
    ["logit difference Austin − Dallas", null, null],
    ["", null, null],
  ])("%j", (label, token, probability) => {
    expect(parseLogitLabel(label)).toEqual({ token, probability });
  });
});

it("shows white space, and free texts whole", () => {
  expect(displayToken(" a\n\tb\r\nc\r")).toBe(" a⏎→b⏎c↵");
  expect(logitText('Output "\n" (p=0.05)')).toBe("⏎");
  expect(logitText("Austin − Dallas")).toBe("Austin − Dallas");
});
