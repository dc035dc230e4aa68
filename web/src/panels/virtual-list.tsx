// A list of which only the lines in sight exist. One tab stop: arrows move through it, Enter acts, readers follow through
// aria-activedescendant. It knows nothing of nodes; `line` draws one line, `onEnter` and `onMove` say what they mean.

// biome-ignore-all lint/a11y/useSemanticElements: a list of which only the lines in sight exist cannot be a native one
// biome-ignore-all lint/a11y/noStaticElementInteractions: the role is one of two, given by a variable
// biome-ignore-all lint/a11y/useAriaPropsSupportedByRole: the role is one of two, given by a variable

import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";

/** Lines kept beyond each edge of the visible part, so that quick scrolling shows no gap. */
const OVERSCAN = 5;
/** Height to assume before the first layout. */
const UNKNOWN_HEIGHT = 480;

export interface LineState {
  readonly id: string;
  readonly active: boolean;
}

interface Props {
  readonly label: string;
  readonly length: number;
  /** Height of a line in rem, so that it grows with the reader's type size. */
  readonly lineHeight: number;
  readonly line: (at: number, state: LineState) => ComponentChildren;
  readonly role?: "listbox" | "grid";
  readonly columns?: number;
  /** A first line that stays in sight: the column heads of a grid. */
  readonly head?: ComponentChildren;
  readonly selected?: number | null;
  /** Changes when other content is listed: the list goes back to its top. */
  readonly content?: unknown;
  readonly onMove?: (at: number | null) => void;
  readonly onEnter?: (at: number, event: KeyboardEvent) => void;
  readonly empty?: ComponentChildren;
  readonly testId?: string;
}

function rootFontSize(): number {
  const size = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
  return Number.isFinite(size) && size > 0 ? size : 16;
}

export function VirtualList(props: Props) {
  const { length, role = "listbox", columns } = props;
  const id = useId();
  const box = useRef<HTMLDivElement>(null);
  const head = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(UNKNOWN_HEIGHT);
  const [active, setActive] = useState<number | null>(null);
  const [line, setLine] = useState(props.lineHeight * 16);

  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    const measure = () => {
      setHeight(element.clientHeight || UNKNOWN_HEIGHT);
      setLine(props.lineHeight * rootFontSize());
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [props.lineHeight]);

  useEffect(() => {
    setActive(null);
    // Not where it is there already: touching the element lays the whole page out.
    if (top === 0) return;
    if (box.current !== null) box.current.scrollTop = 0;
    setTop(0);
  }, [props.content]);

  const move = (to: number) => {
    const at = Math.min(length - 1, Math.max(0, to));
    setActive(at);
    props.onMove?.(at);
    const element = box.current;
    if (element === null) return;
    const below = element.clientHeight - (head.current?.offsetHeight ?? 0);
    if (at * line < element.scrollTop) element.scrollTop = at * line;
    else if ((at + 1) * line > element.scrollTop + below) element.scrollTop = (at + 1) * line - below;
  };

  const onKeyDown = (event: KeyboardEvent) => {
    if (length === 0 || event.altKey || event.target !== event.currentTarget) return;
    const page = Math.max(1, Math.floor(height / line) - 1);
    const from = active ?? props.selected ?? -1;
    const steps: Record<string, number> = {
      ArrowDown: from + 1,
      ArrowUp: from < 0 ? 0 : from - 1,
      PageDown: from + page,
      PageUp: from - page,
      Home: 0,
      End: length - 1,
    };
    if (event.key in steps) {
      event.preventDefault();
      move(steps[event.key]!);
    } else if ((event.key === "Enter" || event.key === " ") && active !== null && active < length) {
      event.preventDefault();
      props.onEnter?.(active, event);
    }
  };

  const first = Math.max(0, Math.floor(top / line) - OVERSCAN);
  const last = Math.min(length, Math.ceil((top + height) / line) + OVERSCAN);
  const shown = [];
  for (let at = first; at < last; at++) shown.push(at);
  const lineId = (at: number) => `${id}-${at}`;
  const activeShown = active !== null && active >= first && active < last;

  const counts = role === "grid" ? { "aria-rowcount": length + 1, "aria-colcount": columns } : {};
  return (
    <div
      ref={box}
      class="virtual"
      role={role}
      tabIndex={0}
      aria-label={props.label}
      aria-activedescendant={activeShown ? lineId(active) : undefined}
      data-testid={props.testId}
      onScroll={(event) => setTop(event.currentTarget.scrollTop)}
      onKeyDown={onKeyDown}
      onBlur={() => props.onMove?.(null)}
      {...counts}
    >
      {props.head !== undefined && (
        <div ref={head} class="virtual-head" role="rowgroup">
          {props.head}
        </div>
      )}
      {length === 0 ? (
        props.empty
      ) : (
        <div class="virtual-all" role={role === "grid" ? "rowgroup" : "presentation"} style={{ height: `${length * line}px` }}>
          <div class="virtual-shown" role="presentation" style={{ transform: `translateY(${first * line}px)` }}>
            {shown.map((at) => props.line(at, { id: lineId(at), active: at === active }))}
          </div>
        </div>
      )}
    </div>
  );
}
