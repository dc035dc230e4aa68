// A button that opens a menu. Arrows, Home and End move, Enter acts, Esc and a click elsewhere close; focus is back on the button
// before an entry acts, so that a dialog it opens returns there.

// biome-ignore-all lint/a11y/useSemanticElements: the roles are those of a menu, not of a form
// biome-ignore-all lint/a11y/useFocusableInteractive: a line between groups of entries is no splitter

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

export type MenuEntry =
  | {
      readonly kind: "item";
      readonly text: string;
      readonly hint?: string;
      readonly disabled?: boolean;
      readonly act: () => void;
    }
  | { readonly kind: "radio"; readonly text: string; readonly on: boolean; readonly act: () => void }
  | { readonly kind: "heading"; readonly text: string }
  | { readonly kind: "line" };

interface Props {
  readonly label: string;
  readonly button: ComponentChildren;
  readonly entries: readonly MenuEntry[];
  readonly testId?: string;
}

export function Menu({ label, button, entries, testId }: Props) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const trigger = useRef<HTMLButtonElement>(null);

  const items = () => [...(root.current?.querySelectorAll<HTMLElement>("[role^=menuitem]:not([aria-disabled=true])") ?? [])];
  const close = (refocus: boolean) => {
    setOpen(false);
    if (refocus) trigger.current?.focus();
  };

  useEffect(() => {
    if (!open) return;
    items()[0]?.focus();
    const outside = (event: Event) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, [open]);

  const onKeyDown = (event: KeyboardEvent) => {
    const list = items();
    const at = list.indexOf(document.activeElement as HTMLElement);
    const to: Record<string, number> = {
      ArrowDown: (at + 1) % list.length,
      ArrowUp: (at - 1 + list.length) % list.length,
      Home: 0,
      End: list.length - 1,
    };
    if (event.key in to) {
      event.preventDefault();
      list[to[event.key]!]?.focus();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      close(true);
    } else if (event.key === "Tab") setOpen(false);
  };

  const act = (entry: { act: () => void }) => {
    close(true);
    entry.act();
  };

  return (
    <div class="menu-root" ref={root}>
      <button
        ref={trigger}
        type="button"
        class="button quiet icon-button"
        aria-haspopup="menu"
        aria-expanded={open}
        aria-label={label}
        title={label}
        data-testid={testId}
        onClick={() => setOpen(!open)}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown" && !open) {
            event.preventDefault();
            setOpen(true);
          }
        }}
      >
        {button}
      </button>
      {open && (
        <div class="popover menu" role="menu" aria-label={label} tabIndex={-1} onKeyDown={onKeyDown}>
          {entries.map((entry, at) => (
            <Entry key={at} entry={entry} onAct={act} />
          ))}
        </div>
      )}
    </div>
  );
}

function Entry({ entry, onAct }: { entry: MenuEntry; onAct: (entry: { act: () => void }) => void }) {
  switch (entry.kind) {
    case "line":
      return <div role="separator" class="menu-line" />;
    case "heading":
      return (
        <div role="presentation" class="menu-heading muted">
          {entry.text}
        </div>
      );
    case "radio":
      return (
        <button type="button" role="menuitemradio" aria-checked={entry.on} tabIndex={-1} onClick={() => onAct(entry)}>
          <span class="menu-mark" aria-hidden="true">
            {entry.on ? "●" : ""}
          </span>
          {entry.text}
        </button>
      );
    case "item":
      return (
        <button
          type="button"
          role="menuitem"
          tabIndex={-1}
          aria-disabled={entry.disabled ? true : undefined}
          onClick={() => !entry.disabled && onAct(entry)}
        >
          <span>{entry.text}</span>
          {entry.hint !== undefined && <kbd>{entry.hint}</kbd>}
        </button>
      );
  }
}
