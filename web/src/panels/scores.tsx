// Replacement and completeness of the graph and of the subgraph, four decimals, N/A where there is no such number.

import type { Scores as ScoreValues } from "../core/types";
import type { Store } from "../store/store";

export function scoreText(value: number | null): string {
  return value === null || !Number.isFinite(value) ? "N/A" : value.toFixed(4);
}

export function Scores({ store }: { store: Store }) {
  const load = store.scores.value;
  if (load.state === "empty") return null;
  if (load.state === "error") {
    return (
      <span class="scores muted" data-testid="scores" title={load.message}>
        scores could not be computed
        {load.retry !== undefined && (
          <button type="button" class="button quiet" onClick={load.retry}>
            Try again
          </button>
        )}
      </span>
    );
  }
  const value = load.state === "ready" ? load.value : null;
  return (
    <dl class="scores" data-testid="scores" aria-busy={value === null}>
      <ScoreGroup name="Graph" scores={value?.graph ?? null} />
      <ScoreGroup name="Subgraph" scores={value?.subgraph ?? null} />
    </dl>
  );
}

function ScoreGroup({ name, scores }: { name: string; scores: ScoreValues | null }) {
  const text = (value: number | null) => (scores === null ? "…" : scoreText(value));
  return (
    <div class="score-group">
      <dt>{name}</dt>
      <dd title="Share of influence on the outputs that comes from tokens rather than from errors">
        replacement <b data-testid={`${name.toLowerCase()}-replacement`}>{text(scores?.replacement ?? null)}</b>
      </dd>
      <dd title="Share of the inputs of all nodes, by their importance, that does not come from errors">
        completeness <b data-testid={`${name.toLowerCase()}-completeness`}>{text(scores?.completeness ?? null)}</b>
      </dd>
    </div>
  );
}
