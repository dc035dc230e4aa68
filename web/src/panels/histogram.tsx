// How often a feature is how active: bars of equal width and, dashed, where the node stands. An image with a text instead of it
// for readers.

import { histogramBin } from "../core/record";
import type { FeatureRecord } from "../core/types";

interface Props {
  readonly record: FeatureRecord;
  readonly current: number | null;
}

export function Histogram({ record, current }: Props) {
  const { histogram: bars, actMin: min, actMax: max } = record;
  const tallest = bars.reduce((most, bar) => Math.max(most, bar || 0), 0);
  if (bars.length === 0 || !(tallest > 0)) return null;
  const marker = current === null ? null : histogramBin(record, current);
  const words =
    `Histogram of activations from ${min.toFixed(2)} to ${max.toFixed(2)}` +
    (current === null ? "" : `, current activation ${current.toFixed(2)}`);
  return (
    <figure class="histogram" data-testid="histogram">
      <svg viewBox={`0 0 ${bars.length} 32`} preserveAspectRatio="none" role="img" aria-label={words}>
        <g class="histogram-bars">
          {bars.map((bar, at) => {
            // What is there at all stays visible beside a bar a thousand times as high.
            const height = bar > 0 ? Math.max(0.75, (bar / tallest) * 31) : 0;
            return <rect key={at} x={at + 0.08} y={32 - height} width={0.84} height={height} />;
          })}
        </g>
        {marker !== null && (
          <line
            class="histogram-current"
            data-testid="histogram-current"
            data-bar={marker}
            x1={marker + 0.5}
            x2={marker + 0.5}
            y1={0}
            y2={32}
          />
        )}
      </svg>
      <figcaption aria-hidden="true">
        <span>{min.toFixed(2)}</span>
        {current !== null && <span class="histogram-legend">current</span>}
        <span>{max.toFixed(2)}</span>
      </figcaption>
    </figure>
  );
}
