// CSV by RFC 4180, and nothing that a spreadsheet would run.

import { describe, expect, it } from "vitest";
import { csvCell, toCsv } from "./csv";

describe("a cell", () => {
  it.each([
    ["plain", "plain"],
    ['say "hi"', '"say ""hi"""'],
    ["a,b", '"a,b"'],
    ["two\nlines", '"two\nlines"'],
    [" sky", '" sky"'],
    ["", ""],
  ])("%j is %j", (value, text) => expect(csvCell(value)).toBe(text));

  it.each(["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\n=1"])("text %j is disarmed", (value) => {
    expect(csvCell(value).replace(/^"/, "").startsWith("'")).toBe(true);
  });

  it("numbers stay numbers, and what is none is empty", () => {
    expect(csvCell(-0.25)).toBe("-0.25");
    expect(csvCell(1e-7)).toBe("1e-7");
    expect(csvCell(Number.NaN)).toBe("");
    expect(csvCell(null)).toBe("");
    expect(csvCell(true)).toBe("true");
  });
});

it("lines end with CR LF, the last one too", () => {
  expect(
    toCsv(
      ["a", "b"],
      [
        ["x", 1],
        [null, "y,z"],
      ],
    ),
  ).toBe('a,b\r\nx,1\r\n,"y,z"\r\n');
});
