// How signed weights look: colour and width of a link from its share of its target's input.
//
// Diverging, green and purple unless another palette is chosen, with full colour from 40 % on and never as pale as the ground.
// The ends come from the tokens in styles/theme.css, so light, dark and every palette have the same code.

import { computed, type ReadonlySignal, signal } from "@preact/signals";
import { interpolateLab } from "d3-interpolate";
import { interpolatePRGn } from "d3-scale-chromatic";
import { colour, palette, remember, remembered, theme } from "../styles/theme";

/** Shares from this on have the end of the scale. */
export const FULL = 0.4;
/** Colours per sign; drawing sorts links into these so that a colour is set once. */
export const LEVELS = 24;
/** The weakest link has this share of the way to the full colour. */
const PALEST = { light: 0.16, dark: 0.32 } as const;
/** Below 1: weak links gain, so that the many shares of a few percent can be told apart. */
const GAMMA = 0.75;

export interface LinkScale {
  readonly dark: boolean;
  /** Colour of a signed share. */
  colour(share: number): string;
  /** Black or white, whichever reads better on that colour. */
  ink(share: number): string;
  /** Red, green, blue from 0 to 1 per level, weakest first. */
  readonly positive: Float32Array;
  readonly negative: Float32Array;
  readonly positiveColours: readonly string[];
  readonly negativeColours: readonly string[];
}

/** Level of a share, 0 to LEVELS - 1, without its sign. */
export function level(share: number): number {
  const size = Math.abs(share) / FULL;
  return size >= 1 ? LEVELS - 1 : Math.floor(size * LEVELS);
}

/** Width of a link in pixels: by the square root, at most 3. */
export function linkWidth(share: number): number {
  return 3 * Math.sqrt(Math.min(1, Math.abs(share)));
}

/** Of `rgb(r, g, b)`, the form that the interpolators give. */
function rgb(text: string): number[] {
  return (text.match(/[\d.]+/g) ?? []).slice(0, 3).map((part) => Number(part) / 255);
}

/** Relative luminance, for a choice of ink. */
function luminance(text: string): number {
  const [r, g, b] = rgb(text).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export function makeScale(zero: string, positive: string, negative: string, dark: boolean, prgn: boolean): LinkScale {
  const palest = dark ? PALEST.dark : PALEST.light;
  const ramp = (sign: 1 | -1): string[] => {
    const mix = interpolateLab(zero, sign > 0 ? positive : negative);
    return Array.from({ length: LEVELS }, (_, i) => {
      const t = palest + (1 - palest) * (i / (LEVELS - 1)) ** GAMMA;
      // The well-known scale ends where text on it is hard to read; 0.44 of its half is the darkest used.
      return prgn && !dark ? interpolatePRGn(0.5 + sign * (0.06 + 0.39 * t)) : mix(t);
    });
  };
  const flat = (colours: readonly string[]) => Float32Array.from(colours.flatMap((text) => rgb(text)));
  const positiveColours = ramp(1);
  const negativeColours = ramp(-1);
  const of = (share: number) => (share < 0 ? negativeColours : positiveColours)[level(share)];
  return {
    dark,
    colour: of,
    // 0.179 is where black and white have the same contrast.
    ink: (share) => (luminance(of(share)) > 0.179 ? "#000000" : "#ffffff"),
    positive: flat(positiveColours),
    negative: flat(negativeColours),
    positiveColours,
    negativeColours,
  };
}

export const linkScale: ReadonlySignal<LinkScale> = computed(() => {
  const dark = theme.value === "dark";
  const prgn = palette.value === "prgn";
  const token = (name: `--${string}`, otherwise: string) => colour(name) || otherwise;
  return makeScale(
    token("--zero", dark ? "#3d434a" : "#d9d8d2"),
    token("--positive", dark ? "#68c07f" : "#1b7837"),
    token("--negative", dark ? "#c08ad0" : "#762a83"),
    dark,
    prgn,
  );
});

const DASH_KEY = "circuit-tracer.dash-negative";

/** Negative links dashed, so that the sign does not hang on colour. */
export const dashNegative = signal(remembered(DASH_KEY) === "yes");

export function setDashNegative(on: boolean): void {
  dashNegative.value = on;
  remember(DASH_KEY, on ? "yes" : null);
}
