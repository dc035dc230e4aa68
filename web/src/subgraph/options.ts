// How the subgraph is laid out and dragged; remembered by the browser.

import { type Signal, signal } from "@preact/signals";
import { remember, remembered } from "../styles/theme";

function option(name: string, otherwise: boolean): { readonly value: Signal<boolean>; readonly set: (on: boolean) => void } {
  const key = `circuit-tracer.subgraph.${name}`;
  const stored = remembered(key);
  const value = signal(stored === null ? otherwise : stored === "yes");
  return {
    value,
    set(on) {
      value.value = on;
      remember(key, on === otherwise ? null : on ? "yes" : "no");
    },
  };
}

/** Dragged boxes stay where they are dropped. */
export const sticky = option("sticky", true);
/** New boxes are laid out in layers. */
export const layers = option("layers", true);
/** The other boxes give way while one is dragged. */
export const relax = option("relax", false);
