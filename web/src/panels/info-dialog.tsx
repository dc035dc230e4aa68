// What a graph file says about itself, and what was odd about it. Shows any key that a producer wrote, as text.

import { displayToken } from "../core/tokens";
import { Dialog } from "./dialog";
import type { DialogProps } from "./dialogs";
import { currentGraph } from "./pointing";
import { count, percent } from "./text";

/** Keys that have a line of their own. */
const SHOWN = new Set(["slug", "scan", "prompt", "prompt_tokens", "node_threshold", "transcoder_list", "schema_version"]);

interface Fact {
  readonly name: string;
  readonly value: string;
}

/** `max_n_logits` as words. */
function words(key: string): string {
  return key.replaceAll("_", " ");
}

function valueText(key: string, value: unknown): string {
  if (value === null || value === undefined) return "none";
  if (typeof value === "number" && /time_ms$/.test(key)) return new Date(value).toISOString().replace("T", " ").slice(0, 19);
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}

/** An object's entries as facts; a list as one. */
function facts(value: unknown, key: string): Fact[] {
  if (Array.isArray(value)) {
    return value.length === 0 ? [] : [{ name: words(key), value: value.map((part) => valueText(key, part)).join(", ") }];
  }
  if (typeof value === "object" && value !== null) {
    return Object.entries(value).flatMap(([name, inner]) =>
      Array.isArray(inner) ? facts(inner, name) : [{ name: words(name), value: valueText(name, inner) }],
    );
  }
  return [{ name: words(key), value: valueText(key, value) }];
}

export function InfoDialog({ store, onClose }: DialogProps) {
  const graph = currentGraph(store);
  if (graph === null) return null;
  const { metadata } = graph.raw;
  const sections: { title: string; facts: Fact[] }[] = [];
  const others: Fact[] = [];
  for (const [key, value] of Object.entries(metadata)) {
    if (SHOWN.has(key)) continue;
    const list = facts(value, key);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      if (list.length > 0) sections.push({ title: words(key), facts: list });
    } else others.push(...list);
  }
  const main: Fact[] = [
    { name: "name", value: graph.slug },
    { name: "features of", value: graph.scan },
    ...(graph.scans.length > 0 ? [{ name: "sets by layer", value: graph.scans.join(", ") }] : []),
    { name: "nodes", value: count(graph.nodes.length) },
    { name: "links", value: count(graph.links.weight.length) },
    {
      name: "kept at pruning",
      value: graph.nodeThreshold === null ? "not said" : `${percent(graph.nodeThreshold, 0)} of influence`,
    },
    { name: "schema", value: valueText("schema_version", metadata.schema_version) },
    ...others,
  ];
  return (
    <Dialog title="About this graph" wide onClose={onClose}>
      <section>
        <h3>Prompt</h3>
        <p class="prompt-tokens" dir="auto">
          {graph.tokens.map((token, at) => (
            <bdi key={at} class="token" title={`position ${at}`}>
              {displayToken(token)}
            </bdi>
          ))}
        </p>
      </section>
      <FactList title="Graph" list={main} />
      {sections.map((section) => (
        <FactList key={section.title} title={section.title} list={section.facts} />
      ))}
      {store.problems.value.length > 0 && (
        <section>
          <h3>Of the link or the saved view</h3>
          <ul class="diagnostics">
            {store.problems.value.map((problem) => (
              <li key={problem}>{problem}</li>
            ))}
          </ul>
        </section>
      )}
      <section data-testid="diagnostics">
        <h3>Diagnostics</h3>
        {graph.diagnostics.length === 0 ? (
          <p class="muted">Nothing odd about this file.</p>
        ) : (
          <ul class="diagnostics">
            {graph.diagnostics.map(({ message, count: times }) => (
              <li key={message}>
                <b>{count(times)}</b> {message}
              </li>
            ))}
          </ul>
        )}
      </section>
    </Dialog>
  );
}

function FactList({ title, list }: { title: string; list: readonly Fact[] }) {
  return (
    <section>
      <h3>{title}</h3>
      <dl class="facts">
        {list.map(({ name, value }) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd dir="auto">{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
