// What could not be read or found of the address or of the saved view, over the panels, until it is dismissed. The dialog about
// the graph keeps the whole list.

import { useSignal } from "@preact/signals";
import type { Store } from "../store/store";
import type { DialogName } from "./dialogs";
import { currentGraph } from "./pointing";

/** The most sentences that are shown here. */
const MOST_SHOWN = 3;

export function ViewNotice({ store, onDialog }: { store: Store; onDialog: (name: DialogName) => void }) {
  /** The list that was dismissed; opening something makes a new one. */
  const dismissed = useSignal<readonly string[] | null>(null);
  const problems = store.problems.value;
  const shown = currentGraph(store) !== null && problems.length > 0 && dismissed.value !== problems;
  // The region is there before its content is, so that readers say the content when it comes.
  return (
    <div role="status" class="view-notice" data-testid="view-notice">
      {shown && (
        <div class="notice notice-warning view-notice-box">
          <div>
            <p>Not everything in the link or the saved view could be used:</p>
            <ul>
              {problems.slice(0, MOST_SHOWN).map((problem) => (
                <li key={problem}>{problem}</li>
              ))}
            </ul>
          </div>
          <div class="view-notice-actions">
            {problems.length > MOST_SHOWN && (
              <button type="button" class="button quiet" onClick={() => onDialog("info")}>
                {problems.length - MOST_SHOWN} more
              </button>
            )}
            <button type="button" class="button" onClick={() => (dismissed.value = problems)}>
              Dismiss
            </button>
          </div>
        </div>
      )}
    </div>
  );
}
