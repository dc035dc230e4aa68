// The label of a node with its editor in the same place: Enter or leaving keeps the text, Esc drops it, an empty text removes
// the user's label so that the file's own shows again.

import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { NodeIx } from "../core/types";
import type { Store } from "../store/store";
import { Icon } from "./icons";

interface Props {
  readonly store: Store;
  readonly node: NodeIx;
  readonly label: string;
  /** Shown where there is no label. */
  readonly placeholder: string;
}

export function LabelEditor({ store, node, label, placeholder }: Props) {
  /** The node being edited, so that moving on to another never writes to that one. */
  const editing = useSignal<NodeIx | null>(null);
  const field = useRef<HTMLInputElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const on = editing.value === node;

  useLayoutEffect(() => {
    if (!on) return;
    field.current?.focus();
    field.current?.select();
  }, [on]);

  const close = (keep: boolean, refocus: boolean) => {
    const at = editing.value;
    if (at === null) return;
    editing.value = null;
    const text = field.current?.value.trim() ?? "";
    if (keep && text !== label) store.setLabel(at, text);
    if (refocus) queueMicrotask(() => button.current?.focus());
  };

  if (on) {
    return (
      <div class="label-editor">
        <input
          ref={field}
          type="text"
          dir="auto"
          defaultValue={label}
          placeholder={placeholder}
          aria-label="Label"
          maxLength={500}
          autoComplete="off"
          spellcheck={false}
          onKeyDown={(event) => {
            if (event.isComposing) return;
            if (event.key === "Enter") close(true, true);
            else if (event.key === "Escape") {
              event.stopPropagation();
              close(false, true);
            }
          }}
          onBlur={() => close(true, false)}
        />
        <span class="muted nowrap">Enter keeps, empty removes</span>
      </div>
    );
  }
  return (
    <div class="label-editor">
      <bdi class={label === "" ? "label-text muted" : "label-text"} data-testid="feature-label">
        {label === "" ? placeholder : label}
      </bdi>
      <button ref={button} type="button" class="button quiet" onClick={() => (editing.value = node)}>
        <Icon name="edit" /> Edit<span class="unseen"> label</span>
      </button>
    </div>
  );
}
