// Two panels with a bar between them that can be dragged or moved with arrow keys; the share of the first is remembered in the
// browser. A double click gives the default back.

// biome-ignore-all lint/a11y/useSemanticElements: a separator that is moved is a splitter, hr is not

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { remember, remembered } from "../styles/theme";

interface Props {
  /** Also the name it is remembered by. */
  readonly name: string;
  readonly label: string;
  /** How the two panels stand. */
  readonly direction: "row" | "column";
  readonly share: number;
  readonly first: ComponentChildren;
  readonly second: ComponentChildren;
}

const LEAST = 0.15;
const STEP = 0.02;

function clamp(share: number): number {
  return Math.min(1 - LEAST, Math.max(LEAST, share));
}

export function Split({ name, label, direction, share, first, second }: Props) {
  const key = `circuit-tracer.split.${name}`;
  const read = (): number => {
    const value = Number.parseFloat(remembered(key) ?? "");
    return Number.isFinite(value) ? clamp(value) : share;
  };
  const current = useSignal(read());
  const root = useRef<HTMLDivElement>(null);
  const set = (value: number) => {
    current.value = clamp(value);
    remember(key, current.value.toFixed(4));
  };

  const drag = (event: PointerEvent) => {
    const bar = event.currentTarget as HTMLElement;
    if (!bar.hasPointerCapture(event.pointerId)) return;
    const box = root.current!.getBoundingClientRect();
    const along = direction === "row" ? (event.clientX - box.left) / box.width : (event.clientY - box.top) / box.height;
    set(along);
  };

  const onKeyDown = (event: KeyboardEvent) => {
    const [less, more] = direction === "row" ? ["ArrowLeft", "ArrowRight"] : ["ArrowUp", "ArrowDown"];
    if (event.key === less) set(current.value - STEP);
    else if (event.key === more) set(current.value + STEP);
    else if (event.key === "Home") set(LEAST);
    else if (event.key === "End") set(1 - LEAST);
    else if (event.key === "Enter") set(share);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div
      ref={root}
      class={`split split-${direction}`}
      style={{ "--first": `${current.value}fr`, "--second": `${1 - current.value}fr` }}
    >
      {first}
      <div
        class="splitter"
        role="separator"
        tabIndex={0}
        aria-label={label}
        aria-orientation={direction === "row" ? "vertical" : "horizontal"}
        aria-valuemin={LEAST * 100}
        aria-valuemax={(1 - LEAST) * 100}
        aria-valuenow={Math.round(current.value * 100)}
        title="Drag to resize, double click for the default"
        onPointerDown={(event) => {
          event.preventDefault();
          event.currentTarget.setPointerCapture(event.pointerId);
          event.currentTarget.focus();
        }}
        onPointerMove={drag}
        onDblClick={() => set(share)}
        onKeyDown={onKeyDown}
      />
      {second}
    </div>
  );
}
