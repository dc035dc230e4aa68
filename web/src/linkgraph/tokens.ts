// The colours a canvas needs, read from styles/theme.css whenever the theme or palette changes.

import { computed, type ReadonlySignal } from "@preact/signals";
import { colour, palette, theme } from "../styles/theme";

export interface Ink {
  readonly panel: string;
  readonly band: string;
  readonly grid: string;
  readonly text: string;
  readonly muted: string;
  readonly nodeFill: string;
  readonly nodeLine: string;
  readonly hover: string;
  readonly selected: string;
  readonly pinned: string;
  readonly grouping: string;
  readonly focus: string;
  readonly match: string;
  readonly matchSoft: string;
}

export const ink: ReadonlySignal<Ink> = computed(() => {
  // Both are dependencies: the values below are those of the attributes that these two set.
  const dark = theme.value === "dark";
  void palette.value;
  const token = (name: `--${string}`, light: string, night: string) => colour(name) || (dark ? night : light);
  return {
    panel: token("--panel", "#fdfdfb", "#1b1e22"),
    band: token("--band", "#f0efe9", "#23272c"),
    grid: token("--grid", "#e9e8e2", "#292e34"),
    text: token("--text", "#23262b", "#dfe2e5"),
    muted: token("--muted", "#5d6269", "#a0a6ad"),
    nodeFill: token("--node-fill", "#ffffff", "#1b1e22"),
    nodeLine: token("--node-line", "#55585c", "#b4b9bf"),
    hover: token("--hover", "#bb2a8d", "#f07cc6"),
    selected: token("--selected", "#bb2a8d", "#f07cc6"),
    pinned: token("--pinned", "#23262b", "#f2f4f5"),
    grouping: token("--grouping", "#007c92", "#4cc9dd"),
    focus: token("--focus", "#1467d8", "#6fb0ff"),
    match: token("--match", "#8a6100", "#f0c665"),
    matchSoft: token("--match-soft", "#fff1c9", "#43381a"),
  };
});
