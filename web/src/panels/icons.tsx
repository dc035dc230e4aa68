// Small drawings: the glyph of a node's kind and the icons of buttons. Decoration only, so hidden from readers: what a glyph
// means is always said by text beside it.

import type { NodeKind } from "../core/types";

export type NodeState = "plain" | "pinned" | "selected";

/** The glyph of the link graph, small enough for a line of a list. */
export function NodeGlyph({ kind, state = "plain", fill }: { kind: NodeKind; state?: NodeState; fill?: string }) {
  const style = fill === undefined ? undefined : { fill };
  return (
    <svg class={`glyph glyph-${state}`} style={style} viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">
      <Glyph kind={kind} />
    </svg>
  );
}

function Glyph({ kind }: { kind: NodeKind }) {
  switch (kind) {
    case "feature":
      return <circle cx="7" cy="7" r="4.5" />;
    case "error":
      return <path d="M7 1.5 12.5 7 7 12.5 1.5 7Z" />;
    case "token":
    case "logit":
      return <rect x="2.5" y="2.5" width="9" height="9" />;
    case "attention":
      return <path d="M7 2 12.5 12h-11Z" />;
    case "bias":
      return <path d="M7 2v10M2 7h10" />;
    default:
      return <path d="M4.5 5a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1.9-1.1 1.8M7 11.4v.8" fill="none" />;
  }
}

const PATHS = {
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10ZM10.7 10.7 14 14",
  undo: "M6 3 2.5 6.5 6 10M2.8 6.5H10a3.5 3.5 0 0 1 0 7H7",
  redo: "M10 3l3.5 3.5L10 10M13.2 6.5H6a3.5 3.5 0 0 0 0 7h3",
  share: "M6 9.5 10 6M5 7.5H3.5v6h9v-6H11M8 1.8v0M7.8 2.2h5.4v5.4M13 2.4 8.4 7",
  more: "M3.5 8h0M8 8h0M12.5 8h0",
  close: "M4 4l8 8M12 4l-8 8",
  down: "M4 6l4 4 4-4",
  pin: "M5.5 2h5l-.6 4.2L12 8.5v1H4v-1l2.1-2.3ZM8 9.5V14",
  edit: "M3 13l.7-3L10.5 3.2l2.3 2.3L6 12.3ZM9.3 4.4l2.3 2.3",
  eye: "M1.5 8S4 3.8 8 3.8 14.5 8 14.5 8 12 12.2 8 12.2 1.5 8 1.5 8ZM8 10a2 2 0 1 0 0-4 2 2 0 0 0 0 4",
  check: "M3 8.5 6.5 12 13 4.5",
  warning: "M8 2 14.5 13.5h-13ZM8 6.5V9.5M8 11.6v.2",
  table: "M2 3.5h12v9H2ZM2 6.5h12M2 9.5h12M6 6.5v6",
  wrap: "M2 4h12M2 8h9.5a2 2 0 0 1 0 4H8M9.8 10 7.8 12l2 2M2 12h3",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class={`icon icon-${name}`} viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
