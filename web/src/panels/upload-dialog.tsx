// Adding a graph file to the folder. The server checks it; what is wrong with it is listed by place and reason.

// biome-ignore-all lint/a11y/noStaticElementInteractions: dropping a file is a second way, the field in it is the first

import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import { Dialog } from "./dialog";
import type { DialogProps } from "./dialogs";
import { plural } from "./text";

/** More than this many problems teach nothing more. */
const MOST_PROBLEMS = 200;

interface Problem {
  readonly path: string;
  readonly reason: string;
}

export function UploadDialog({ store, onClose }: DialogProps) {
  const id = useId();
  const busy = useSignal<string | null>(null);
  const over = useSignal(false);
  const replace = useSignal(false);
  const failed = useSignal<{ readonly name: string; readonly problems: readonly Problem[] } | null>(null);

  const take = async (file: File | undefined) => {
    if (file === undefined || busy.value !== null) return;
    busy.value = file.name;
    failed.value = null;
    try {
      const result = await store.upload(file, { overwrite: replace.value });
      if (result.ok) {
        onClose();
        void store.open(result.slug);
        return;
      }
      failed.value = { name: file.name, problems: result.problems };
    } catch (reason) {
      const text = reason instanceof Error ? reason.message : String(reason);
      failed.value = { name: file.name, problems: [{ path: "", reason: text }] };
    }
    busy.value = null;
  };

  return (
    <Dialog title="Add a graph file" wide={failed.value !== null} onClose={onClose}>
      <div
        class={over.value ? "drop is-over" : "drop"}
        onDragOver={(event) => {
          event.preventDefault();
          over.value = true;
        }}
        onDragLeave={() => (over.value = false)}
        onDrop={(event) => {
          event.preventDefault();
          event.stopPropagation();
          over.value = false;
          void take(event.dataTransfer?.files[0]);
        }}
      >
        <label for={id}>A .json file of circuit-tracer or Neuronpedia: choose it here, or drop it.</label>
        <input
          id={id}
          type="file"
          accept=".json,application/json"
          disabled={busy.value !== null}
          onChange={(event) => {
            const field = event.currentTarget;
            const file = field.files?.[0];
            // The same file may be chosen again once it is mended.
            field.value = "";
            void take(file);
          }}
        />
      </div>
      <label class="check">
        <input type="checkbox" checked={replace.value} onChange={(event) => (replace.value = event.currentTarget.checked)} />
        Replace a graph of the same name
      </label>
      {busy.value !== null && (
        <p role="status">
          <span class="spinner" aria-hidden="true" /> Checking <b>{busy.value}</b>…
        </p>
      )}
      {failed.value !== null && <Problems {...failed.value} />}
    </Dialog>
  );
}

function Problems({ name, problems }: { name: string; problems: readonly Problem[] }) {
  return (
    <div class="notice notice-error" role="alert" data-testid="upload-problems">
      <p>
        <b>{name}</b> was not added: {plural(problems.length, "problem")}.
      </p>
      <ul class="problems">
        {problems.slice(0, MOST_PROBLEMS).map(({ path, reason }, at) => (
          <li key={at}>
            {path !== "" && <code>{path}</code>} {reason}
          </li>
        ))}
      </ul>
      {problems.length > MOST_PROBLEMS && <p>… and {plural(problems.length - MOST_PROBLEMS, "more", "more")}.</p>}
    </div>
  );
}
