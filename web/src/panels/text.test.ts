// Words and numbers of the panels.

import { expect, test } from "vitest";
import { count, ordinal, percent, plural, sentence, signed } from "./text";

test("a weight has its sign, a share only when it is negative", () => {
  expect(signed(0.1234)).toBe("+0.123");
  expect(signed(-2)).toBe("−2.000");
  expect(signed(Number.NaN)).toBe("–");
  expect(percent(0.1234)).toBe("12.3 %");
  expect(percent(-0.5, 0)).toBe("−50 %");
  expect(percent(-0.0001)).toBe("0.0 %");
  expect(percent(Number.POSITIVE_INFINITY)).toBe("–");
});

test("large counts are grouped and agree with their noun", () => {
  expect(count(10431)).toBe("10\u202f431");
  expect(plural(1, "node")).toBe("1 node");
  expect(plural(2, "oddity", "oddities")).toBe("2 oddities");
});

test("messages become sentences", () => {
  expect(sentence("no such graph")).toBe("No such graph.");
  expect(sentence("It is gone.")).toBe("It is gone.");
  expect(sentence(" ")).toBe("");
});

test("ordinals, with the exceptions of the teens", () => {
  expect([1, 2, 3, 4, 11, 12, 13, 21, 97, 100, 111].map(ordinal)).toEqual([
    "1st",
    "2nd",
    "3rd",
    "4th",
    "11th",
    "12th",
    "13th",
    "21st",
    "97th",
    "100th",
    "111th",
  ]);
});
