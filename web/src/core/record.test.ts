// Feature records, full and minimal, and characters whose bytes are spread over tokens.

import { describe, expect, it } from "vitest";
import { featureRecord } from "../../fixtures/generate";
import { histogramBin, joinBytes, percentile, readRecord } from "./record";
import type { FeatureRecord } from "./types";

const example = (tokens: string[], activations: number[], trainToken: number | null = null) => ({
  tokens,
  activations,
  trainToken,
  repeated: false,
});

describe("readRecord", () => {
  it("reads a full record", () => {
    const record = readRecord(featureRecord(1, 7)) as FeatureRecord;
    expect(record.index).toBe(7);
    expect(record.examples.map(({ name, examples }) => [name, examples.length])).toEqual([
      ["Top activations", 4],
      ["Subsample interval 0", 4],
    ]);
    expect(record.actMax).toBe(5);
    expect(record.quantileValues).toHaveLength(100);
    for (const { examples } of record.examples) {
      for (const { tokens, activations, trainToken } of examples) {
        expect(tokens.join("")).not.toContain("\\x");
        expect(activations).toHaveLength(tokens.length);
        expect(activations[trainToken as number]).toBeGreaterThanOrEqual(4);
      }
    }
  });

  it("reads a minimal one, with the scale that it does not say", () => {
    const record = readRecord({
      index: 3,
      examples_quantiles: [{ examples: [{ tokens: ["a", "b"], tokens_acts_list: [1] }] }],
    });
    expect(record).toEqual({
      index: 3,
      examples: [{ name: "", examples: [example(["a", "b"], [1, 0])] }],
      topLogits: [],
      bottomLogits: [],
      actMin: 0,
      actMax: 1.4,
      quantileValues: [],
      histogram: [],
      frequency: null,
      automaticLabel: null,
    });
  });

  it("takes the mark off an automatic label, and takes nothing else for one", () => {
    const label = (automatic_label: unknown) => readRecord({ examples_quantiles: [], automatic_label })?.automaticLabel;
    expect(label("automatic: on Dallas, Houston; promotes Texas")).toBe("on Dallas, Houston; promotes Texas");
    expect(label("on Dallas")).toBe("on Dallas");
    for (const none of ["automatic: ", "", 5, undefined]) expect(label(none)).toBeNull();
  });

  it("refuses what is none", () => {
    for (const json of [null, [], "x", {}, { examples_quantiles: 5 }]) expect(readRecord(json)).toBeNull();
  });
});

describe("joinBytes", () => {
  it("joins the bytes of a character and keeps the largest activation and the train token", () => {
    expect(joinBytes(example(["a", " \\xe2", "\\x80", "\\x94", "b"], [0, 1, 3, 2, 5], 2))).toEqual(
      example(["a", " —", "b"], [0, 3, 5], 1),
    );
    expect(joinBytes(example(["\\xf0", "\\x9f", "\\x98", "\\x80", "x"], [1, 1, 1, 2, 0], 4))).toEqual(
      example(["😀", "x"], [2, 0], 1),
    );
  });

  it("leaves bytes that are no character, and joins five tokens at most", () => {
    const broken = example(["\\xe2", "\\x28", "z"], [1, 2, 3], 0);
    expect(joinBytes(broken)).toEqual({ ...broken, tokens: ["\\xe2", "(", "z"] });
    const far = example(["\\xe2", "", "", "", "", "\\x80\\x94"], [1, 0, 0, 0, 0, 0]);
    expect(joinBytes(far).tokens).toEqual(far.tokens);
  });
});

it("gives percentiles by the first quantile that is not below", () => {
  const record = { quantileValues: [0.1, 0.4, 1.2, 6] } as unknown as FeatureRecord;
  expect([0, 0.1, 0.2, 1.2, 5, 6, 7].map((a) => percentile(record, a))).toEqual([1, 1, 2, 3, 4, 4, 100]);
  expect(percentile({ quantileValues: [] } as unknown as FeatureRecord, 1)).toBeNull();
});

it("clamps the bar of the histogram", () => {
  const record = { histogram: [1, 2, 3, 4], actMin: 0, actMax: 6 } as unknown as FeatureRecord;
  expect([-1, 0, 1.49, 1.5, 5.9, 6, 60].map((a) => histogramBin(record, a))).toEqual([0, 0, 0, 1, 3, 3, 3]);
  expect(histogramBin({ histogram: [1], actMin: 2, actMax: 2 } as unknown as FeatureRecord, 2)).toBe(0);
  expect(histogramBin({ histogram: [], actMin: 0, actMax: 2 } as unknown as FeatureRecord, 2)).toBeNull();
});
