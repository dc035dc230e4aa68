// The line under the panels: how much is shown, what mode the page is in, what was odd about the file, and the scores.

import type { Store } from "../store/store";
import type { DialogName } from "./dialogs";
import { currentGraph } from "./pointing";
import { Scores } from "./scores";
import { count, plural } from "./text";

export function StatusBar({ store, onDialog }: { store: Store; onDialog: (name: DialogName) => void }) {
  const graph = currentGraph(store);
  const visible = store.visible.value;
  if (graph === null || visible === null) return null;
  const odd = graph.diagnostics.reduce((sum, { count: times }) => sum + times, 0);
  return (
    <footer class="status-bar">
      <span data-testid="status-counts">
        {count(visible.nLinks)} of {plural(graph.links.weight.length, "link")}
      </span>
      {store.pinnedSet.value.size > 0 && <span>{count(store.pinnedSet.value.size)} pinned</span>}
      {store.view.value.hidden.size > 0 && <span>{count(store.view.value.hidden.size)} hidden</span>}
      {odd > 0 && (
        <button
          type="button"
          class="button quiet status-warning"
          data-testid="status-diagnostics"
          onClick={() => onDialog("info")}
        >
          {plural(odd, "oddity", "oddities")} in the file
        </button>
      )}
      {store.problems.value.length > 0 && (
        <button type="button" class="button quiet status-warning" onClick={() => onDialog("info")}>
          {plural(store.problems.value.length, "part")} of the link not used
        </button>
      )}
      {store.hold.value && <span class="chip">hover held</span>}
      {store.saveMessage.value !== "" && (
        <span class={store.saveState.value === "error" ? "text-error ellipsis" : "ellipsis"}>{store.saveMessage.value}</span>
      )}
      <Scores store={store} />
    </footer>
  );
}
