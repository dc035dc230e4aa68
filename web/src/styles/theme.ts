// Light or dark, and which palette signed weights have: follows the system unless the user chose, and remembers the choice.
//
// The colours themselves are in theme.css. A canvas reads them with `colour()` and repaints when `theme` or `palette` changes.

import type { ReadonlySignal } from "@preact/signals";
import { computed, effect, signal } from "@preact/signals";

export type ThemeChoice = "system" | "light" | "dark";
export type Palette = "prgn" | "blue-orange" | "contrast";

const THEME_KEY = "circuit-tracer.theme";
const PALETTE_KEY = "circuit-tracer.palette";

/** A private window may refuse storage; the choice then lives as long as the page. */
export function remembered(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function remember(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // Refused: nothing to do, nothing is lost but the memory.
  }
}

function storedTheme(): ThemeChoice {
  const value = remembered(THEME_KEY);
  return value === "light" || value === "dark" ? value : "system";
}

function storedPalette(): Palette {
  const value = remembered(PALETTE_KEY);
  return value === "blue-orange" || value === "contrast" ? value : "prgn";
}

const systemDark = signal(false);
if (typeof matchMedia === "function") {
  const query = matchMedia("(prefers-color-scheme: dark)");
  systemDark.value = query.matches;
  query.addEventListener("change", (event) => (systemDark.value = event.matches));
}

export const themeChoice = signal<ThemeChoice>(storedTheme());
export const palette = signal<Palette>(storedPalette());

/** What is shown. */
export const theme: ReadonlySignal<"light" | "dark"> = computed(() => {
  if (themeChoice.value !== "system") return themeChoice.value;
  return systemDark.value ? "dark" : "light";
});

// Attributes first: effects of canvases that depend on `theme` are made later and so run after this one.
effect(() => {
  document.documentElement.dataset.theme = theme.value;
  document.documentElement.dataset.palette = palette.value;
});
effect(() => remember(THEME_KEY, themeChoice.value === "system" ? null : themeChoice.value));
effect(() => remember(PALETTE_KEY, palette.value === "prgn" ? null : palette.value));

/** The value of a token such as `--positive`, for drawing on a canvas. */
export function colour(token: `--${string}`): string {
  return getComputedStyle(document.documentElement).getPropertyValue(token).trim();
}
