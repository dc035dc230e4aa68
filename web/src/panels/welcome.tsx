// What stands in place of the panels while no graph is open: it is loading, it failed, or there is none yet.

import type { Store } from "../store/store";
import type { DialogName } from "./dialogs";
import { sentence } from "./text";

const MAKE = `circuit-tracer attribute -m MODEL_DIR -t TRANSCODER_DIR \\
    -p "The capital of Texas is" --slug texas --graph-file-dir DIR`;

export function Welcome({ store, onDialog }: { store: Store; onDialog: (name: DialogName) => void }) {
  const graph = store.graph.value;
  const entries = store.entries.value;
  if (graph.state === "error") return <Failed message={graph.message} retry={graph.retry} store={store} />;
  if (graph.state === "loading") return <Waiting text="Opening the graph…" />;
  switch (entries.state) {
    case "error":
      return <Failed message={entries.message} retry={entries.retry} store={store} />;
    case "loading":
      return <Waiting text="Reading the folder of graphs…" />;
    case "empty":
    case "ready":
      break;
  }
  const none = entries.state !== "ready" || entries.value.length === 0;
  return (
    <div class="welcome" data-testid="welcome">
      <h2>{none ? "No graphs yet" : "No graph is open"}</h2>
      {none ? (
        <>
          <p>Make one into the folder that this server shows, and it appears in the list at the top left:</p>
          <pre>{MAKE}</pre>
          <p>Or add a file that you already have.</p>
        </>
      ) : (
        <p>Choose one from the list at the top left, or add a file that you already have.</p>
      )}
      <div class="welcome-actions">
        <button type="button" class="button primary" onClick={() => onDialog("upload")}>
          Add a graph file…
        </button>
        <button type="button" class="button" onClick={() => void store.refreshEntries()}>
          Look again
        </button>
      </div>
    </div>
  );
}

function Waiting({ text }: { text: string }) {
  return (
    <div class="welcome" role="status" data-testid="loading">
      <p>
        <span class="spinner" aria-hidden="true" /> {text}
      </p>
    </div>
  );
}

function Failed({ message, retry, store }: { message: string; retry: (() => void) | undefined; store: Store }) {
  return (
    <div class="welcome" role="alert" data-testid="failed">
      <h2>This did not work</h2>
      <p>{sentence(message)}</p>
      <div class="welcome-actions">
        <button
          type="button"
          class="button primary"
          onClick={() => (retry === undefined ? void store.refreshEntries() : retry())}
        >
          Try again
        </button>
      </div>
    </div>
  );
}
