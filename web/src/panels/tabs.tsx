// Tabs over one panel: arrows move between them, only the chosen one's content exists.

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useId, useRef } from "preact/hooks";

export interface Tab {
  readonly id: string;
  readonly title: string;
  readonly content: () => ComponentChildren;
}

export function Tabs({ label, tabs }: { label: string; tabs: readonly Tab[] }) {
  const chosen = useSignal(0);
  const id = useId();
  const bar = useRef<HTMLDivElement>(null);
  const choose = (at: number) => {
    chosen.value = (at + tabs.length) % tabs.length;
    bar.current?.querySelectorAll<HTMLElement>("[role=tab]")[chosen.value]?.focus();
  };
  const tab = tabs[chosen.value]!;
  return (
    <div class="tabs">
      <div
        ref={bar}
        class="tab-bar"
        role="tablist"
        aria-label={label}
        onKeyDown={(event) => {
          if (event.key === "ArrowRight") choose(chosen.value + 1);
          else if (event.key === "ArrowLeft") choose(chosen.value - 1);
          else return;
          event.preventDefault();
        }}
      >
        {tabs.map(({ id: name, title }, at) => (
          <button
            key={name}
            id={`${id}-${name}`}
            type="button"
            role="tab"
            aria-selected={at === chosen.value}
            aria-controls={`${id}-panel`}
            tabIndex={at === chosen.value ? 0 : -1}
            data-testid={`tab-${name}`}
            onClick={() => (chosen.value = at)}
          >
            {title}
          </button>
        ))}
      </div>
      <div id={`${id}-panel`} class="tab-panel" role="tabpanel" aria-labelledby={`${id}-${tab.id}`}>
        {tab.content()}
      </div>
    </div>
  );
}
