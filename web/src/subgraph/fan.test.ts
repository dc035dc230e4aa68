// Ends of edges along the sides of boxes.

import { describe, expect, it } from "vitest";
import { type FanBox, fanOut } from "./fan";

const box = (x: number, y: number): FanBox => ({ x, y, width: 75, height: 25 });

describe("ends", () => {
  const boxes = [box(100, 200), box(0, 50), box(100, 50), box(220, 50)];
  const edges = [
    { source: 0, target: 3, width: 4 },
    { source: 0, target: 1, width: 8 },
    { source: 0, target: 2, width: 2 },
  ];
  const lines = fanOut(boxes, edges);

  it("leave the top and enter the bottom", () => {
    for (const line of lines) {
      expect(line.y1).toBe(200 - 12.5);
      expect(line.y2).toBe(50 + 12.5);
    }
  });

  it("have the order of their angles, so that they do not cross at the box", () => {
    const [right, left, middle] = lines.map((line) => line.x1);
    expect(left).toBeLessThan(middle);
    expect(middle).toBeLessThan(right);
  });

  it("lie side by side by their widths, about the middle", () => {
    const [right, left, middle] = lines.map((line) => line.x1);
    expect(middle - left).toBeCloseTo((8 + 2) / 2 + 1);
    expect((left - 4.5 + (right + 2.5)) / 2).toBeCloseTo(100);
  });

  it("alone meet the middle", () => {
    expect(lines[2].x2).toBe(100);
  });
});

it("many wide ends are squeezed into the side", () => {
  const boxes = [box(0, 200), ...Array.from({ length: 30 }, (_, i) => box((i - 15) * 80, 0))];
  const lines = fanOut(
    boxes,
    boxes.slice(1).map((_, i) => ({ source: 0, target: i + 1, width: 15 })),
  );
  for (const { x1 } of lines) expect(Math.abs(x1)).toBeLessThan(75 / 2 - 5);
  const sorted = lines.map(({ x1 }) => x1);
  expect(sorted.toSorted((a, b) => a - b)).toEqual(sorted);
});

it("boxes side by side are joined at their sides, a lower target from the bottom", () => {
  const [line] = fanOut([box(0, 0), box(200, 5)], [{ source: 0, target: 1, width: 3 }]);
  expect([line.x1, line.x2]).toEqual([37.5, 162.5]);
  const [down] = fanOut([box(0, 0), box(0, 100)], [{ source: 0, target: 1, width: 3 }]);
  expect([down.y1, down.y2]).toEqual([12.5, 87.5]);
});

it("an edge there and one back do not lie on each other", () => {
  const [there, back] = fanOut(
    [box(0, 100), box(0, 0)],
    [
      { source: 0, target: 1, width: 5 },
      { source: 1, target: 0, width: 5 },
    ],
  );
  expect(there.x1).not.toBe(back.x2);
});
