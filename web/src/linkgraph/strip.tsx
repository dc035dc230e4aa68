// The controls above the link graph: which links, how they look, zoom, pins, and how much is shown.

import type { Signal } from "@preact/signals";
import type { LinkType } from "../core/types";
import { count } from "../panels/text";
import type { Store } from "../store/store";
import { type Palette, palette } from "../styles/theme";
import { dashNegative, linkScale, setDashNegative } from "./colours";
import type { AllStatus, PlotState } from "./plot";

const LINK_TYPES: readonly { type: LinkType; name: string; title: string }[] = [
  { type: "input", name: "Input", title: "Links into pinned nodes" },
  { type: "output", name: "Output", title: "Links out of pinned nodes" },
  { type: "either", name: "Either", title: "Links into and out of pinned nodes" },
  { type: "both", name: "Both", title: "Only links between two pinned nodes" },
];

const PALETTES: readonly { palette: Palette; name: string }[] = [
  { palette: "prgn", name: "Green and purple" },
  { palette: "blue-orange", name: "Blue and orange" },
  { palette: "contrast", name: "High contrast" },
];

interface Props {
  readonly store: Store;
  readonly state: PlotState;
  readonly showAll: Signal<boolean>;
  readonly allStatus: Signal<AllStatus | null>;
  /** By a factor, or to see all of it. */
  readonly onZoom: (by: number | "fit") => void;
}

export function Strip({ store, state, showAll, allStatus, onZoom }: Props) {
  const graph = state.graph.value;
  const linkType = store.view.value.linkType;
  const pins = store.view.value.pinned.length;
  const shown = store.visible.value;
  const nodes = graph === null || shown === null ? "" : `${count(shown.nNodes)} of ${count(graph.nodes.length)} nodes`;
  const amount = allStatus.value === null ? nodes : `${nodes} · ${linksDrawn(allStatus.value)}`;
  return (
    <div class="lg-strip" role="toolbar" aria-label="Link graph">
      <fieldset class="lg-types">
        <legend class="lg-hidden">Links of pinned nodes</legend>
        {LINK_TYPES.map(({ type, name, title }) => (
          <label key={type} class="lg-type" title={title}>
            <input
              type="radio"
              name="link-type"
              value={type}
              checked={linkType === type}
              onChange={() => {
                store.setLinkType(type);
                store.announce(title);
              }}
            />
            <span>{name}</span>
          </label>
        ))}
      </fieldset>
      <label class="lg-check">
        <input type="checkbox" checked={showAll.value} onChange={(event) => (showAll.value = event.currentTarget.checked)} />
        All links
      </label>
      <label class="lg-check" title="Draw negative links dashed">
        <input
          type="checkbox"
          checked={dashNegative.value}
          onChange={(event) => setDashNegative(event.currentTarget.checked)}
        />
        Dashes
      </label>
      <label class="lg-palette" title="Colours of links: share of the target’s input from −40 % to +40 %">
        <span class="lg-hidden">Colours of links</span>
        <Legend />
        <span aria-hidden="true">▾</span>
        <select value={palette.value} onChange={(event) => (palette.value = event.currentTarget.value as Palette)}>
          {PALETTES.map(({ palette: value, name }) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <button type="button" class="lg-button" disabled={pins === 0} onClick={() => store.clearPins()} title="Unpin every node">
        Clear pins
      </button>
      <span class="lg-count lg-fill" data-testid="node-count" title={amount}>
        {amount}
      </span>
      <span class="lg-zoom">
        <button
          type="button"
          class="lg-button lg-square"
          aria-label="Zoom out"
          title="Zoom out (−)"
          onClick={() => onZoom(1 / 1.4)}
        >
          −
        </button>
        <button type="button" class="lg-button lg-square" aria-label="Zoom in" title="Zoom in (+)" onClick={() => onZoom(1.4)}>
          +
        </button>
        <button
          type="button"
          class="lg-button"
          aria-label="Fit link graph"
          title="See all of it; 0 goes back to the first size"
          onClick={() => onZoom("fit")}
        >
          Fit
        </button>
      </span>
    </div>
  );
}

function linksDrawn({ drawn, of }: AllStatus): string {
  return drawn === of ? `${count(of)} links` : `strongest ${count(drawn)} of ${count(of)} links`;
}

/** Said over the plot, since it must not be overlooked: not all links are drawn although all were asked for. */
export function FallbackNote({ allStatus }: { allStatus: Signal<AllStatus | null> }) {
  const status = allStatus.value;
  if (status === null || status.drawn === status.of) return null;
  return (
    <p class="lg-note" role="status">
      Without fast WebGL: {linksDrawn(status)}
    </p>
  );
}

/** The scale of shares, from −40 % to +40 %. */
function Legend() {
  const { positiveColours, negativeColours } = linkScale.value;
  const colours = [...negativeColours.toReversed(), ...positiveColours];
  return (
    <svg
      class="lg-legend"
      viewBox={`0 0 ${colours.length} 8`}
      width="56"
      height="10"
      preserveAspectRatio="none"
      aria-hidden="true"
    >
      {colours.map((colour, i) => (
        <rect key={i} x={i} y="0" width="1.05" height="8" fill={colour} />
      ))}
    </svg>
  );
}
