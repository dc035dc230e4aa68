// The picture as SVG: well formed whatever the labels hold, and complete in itself.

import { describe, expect, it } from "vitest";
import { escapeXml, type Scene, sceneToSvg, wrap } from "./scene";

function scene(label: string): Scene {
  return {
    width: 200,
    height: 100,
    title: label,
    background: "#ffffff",
    box: "#f7f2e6",
    text: "#222222",
    font: 'A "font", sans-serif',
    fontSize: 11,
    boxes: [
      {
        x: 10,
        y: 10,
        width: 75,
        height: 25,
        line: "#888888",
        lineWidth: 1,
        rings: [{ kind: "feature", x: 47, y: 22, radius: 5, fill: "rgb(1, 2, 3)", line: "#555555", lineWidth: 1 }],
        label: [label],
      },
    ],
    edges: [{ x1: 0, y1: 1.23456, x2: 3, y2: 4, width: 15, colour: "rgb(27, 120, 55)", dash: [4, 3] }],
  };
}

describe("the SVG", () => {
  it.each([
    ["</text><script>alert(1)</script>", "</text><script>alert(1)</script>"],
    ["a & b < c > d \"e\" 'f'", "a & b < c > d \"e\" 'f'"],
    // Control characters and halves of pairs have no form in XML.
    ["\u0000\u0008\ud800ok\uffff", "ok"],
    ["مرحبا 🎈", "مرحبا 🎈"],
  ])("is well formed with the label %j", (label, kept) => {
    const parsed = new DOMParser().parseFromString(sceneToSvg(scene(label)), "image/svg+xml");
    expect(parsed.querySelector("parsererror")).toBeNull();
    expect(parsed.querySelector("script")).toBeNull();
    expect(parsed.querySelector("text")?.textContent).toBe(kept);
  });

  it("refers to nothing outside and has no style sheet", () => {
    const text = sceneToSvg(scene("x"));
    expect(text.replace("http://www.w3.org/2000/svg", "")).not.toMatch(/https?:|url\(|href|<style|class=/);
    expect(text).toContain('stroke="rgb(27, 120, 55)"');
    expect(text).toContain('stroke-dasharray="4 3"');
    expect(text).toContain('y1="1.23"');
  });
});

it("escapes what means something in XML", () => {
  expect(escapeXml(`<a b="c">&'`)).toBe("&lt;a b=&quot;c&quot;&gt;&amp;&#39;");
});

describe("wrapping", () => {
  const measure = (text: string) => [...text].length * 10;

  it("breaks at spaces", () => {
    expect(wrap("say a capital", 60, 3, measure)).toEqual(["say a", "capita", "l"]);
    expect(wrap("say a capital", 80, 3, measure)).toEqual(["say a", "capital"]);
  });

  it("cuts what is too long", () => {
    expect(wrap("one two three four", 50, 2, measure)).toEqual(["one", "two…"]);
    expect(wrap("abcdefghijklmnop", 50, 2, measure)).toEqual(["abcde", "fghi…"]);
  });

  it("of nothing is nothing, and does not part surrogates", () => {
    expect(wrap("  ", 50, 2, measure)).toEqual([]);
    expect(wrap("🎈🎈🎈🎈", 20, 3, measure)).toEqual(["🎈🎈", "🎈🎈"]);
  });
});
