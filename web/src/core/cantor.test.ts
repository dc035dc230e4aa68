// The pairing is exact over the whole range that models have, and known numbers of real files come out.

import { describe, expect, it } from "vitest";
import { legacyIndex, pair, unpair } from "./cantor";

describe("pair and unpair", () => {
  it("give the numbers of real files", () => {
    expect(pair(0, 12284)).toBe(75_466_754);
    expect(pair(1, 7)).toBe(43);
    expect(unpair(75_466_754)).toEqual({ layer: 0, index: 12284 });
  });

  it("are exact for layers to 127 and indices to five million", () => {
    for (let layer = 0; layer < 128; layer++) {
      for (const index of [0, 1, 2, 16383, 131_071, 999_999, 4_999_999, 5_000_000, 3_141_592 + layer]) {
        const sum = BigInt(layer + index);
        const exact = (sum * (sum + 1n)) / 2n + BigInt(index);
        const number = pair(layer, index);
        expect(BigInt(number)).toBe(exact);
        expect(unpair(number)).toEqual({ layer, index });
      }
    }
  });

  it("are exact at both ends of every diagonal", () => {
    for (const sum of [1, 2, 1000, 94_906_265, 5_000_127]) {
      const first = (sum * (sum + 1)) / 2;
      expect(unpair(first)).toEqual({ layer: sum, index: 0 });
      expect(unpair(first - 1)).toEqual({ layer: 0, index: sum - 1 });
    }
  });
});

describe("legacyIndex", () => {
  it("takes the layer's digits away", () => {
    expect(legacyIndex(2308855, 23)).toBe(8855);
    expect(legacyIndex(11015631, 11)).toBe(15631);
    expect(legacyIndex(10117209, 10)).toBe(117209);
    expect(legacyIndex(42, 0)).toBe(42);
  });

  it("refuses a number that does not begin with the layer", () => {
    expect(legacyIndex(2308855, 7)).toBeNull();
    expect(legacyIndex(23, 23)).toBeNull();
  });
});
