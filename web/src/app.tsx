// The frame of the page: bar, four panels with splitters between them, status line, dialogs, and what spans them all (keys, live
// region, title). What is in a panel is that panel's business.

import "./styles/theme.css";
import "./styles/base.css";
import "./styles/frame.css";
import "./styles/panels.css";
import "./styles/dialogs.css";

import { useSignal, useSignalEffect } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { LinkGraph } from "./linkgraph/link-graph";
import { AllNodes } from "./panels/all-nodes";
import type { DialogName } from "./panels/dialogs";
import { Dialogs } from "./panels/dialogs";
import { ErrorBoundary } from "./panels/error-boundary";
import { FeatureDetail } from "./panels/feature-detail";
import { installKeyboard } from "./panels/keyboard";
import { NodeConnections } from "./panels/node-connections";
import { currentGraph } from "./panels/pointing";
import { Split } from "./panels/splitter";
import { StatusBar } from "./panels/status-bar";
import { Tabs } from "./panels/tabs";
import { TopBar } from "./panels/top-bar";
import { ViewNotice } from "./panels/view-notice";
import { Welcome } from "./panels/welcome";
import type { Store } from "./store/store";
import { Subgraph } from "./subgraph/subgraph";

export function App({ store }: { store: Store }) {
  const dialog = useSignal<DialogName | null>(null);
  const open = (name: DialogName) => (dialog.value = name);

  useEffect(
    () =>
      installKeyboard(store, {
        help: () => (dialog.value = "help"),
        search: () => document.querySelector<HTMLInputElement>("[data-search]")?.focus(),
      }),
    [store, dialog],
  );

  useSignalEffect(() => {
    const graph = currentGraph(store);
    document.title = graph === null ? "Attribution Graph" : `Attribution Graph: ${graph.prompt}`;
  });

  useSignalEffect(() => {
    if (store.saveState.value === "conflict") dialog.value = "conflict";
  });

  return (
    <div class="page">
      <a class="skip" href="#link-graph">
        Skip to the link graph
      </a>
      <div>
        <TopBar store={store} onDialog={open} />
        <ViewNotice store={store} onDialog={open} />
      </div>
      <main class="main">
        <ErrorBoundary name="The page">
          <Panels store={store} onDialog={open} />
        </ErrorBoundary>
      </main>
      <StatusBar store={store} onDialog={open} />
      <Dialogs name={dialog.value} store={store} onClose={() => (dialog.value = null)} />
      <div class="unseen" role="status" aria-live="polite" data-testid="live">
        {store.announcement.value}
      </div>
    </div>
  );
}

function Panels({ store, onDialog }: { store: Store; onDialog: (name: DialogName) => void }) {
  if (currentGraph(store) === null) return <Welcome store={store} onDialog={onDialog} />;
  return (
    <Split
      name="columns"
      label="Width of the graphs"
      direction="row"
      share={8 / 14}
      first={
        <Split
          name="left"
          label="Height of the link graph"
          direction="column"
          share={0.52}
          first={
            <Panel id="link-graph" title="Link graph">
              <LinkGraph store={store} />
            </Panel>
          }
          second={
            <Panel id="subgraph" title="Subgraph">
              <Subgraph store={store} />
            </Panel>
          }
        />
      }
      second={
        <Split
          name="right"
          label="Height of the lists"
          direction="column"
          share={0.44}
          first={
            <Panel id="lists" title="Lists">
              <Tabs
                label="Lists"
                tabs={[
                  { id: "connections", title: "Node connections", content: () => <NodeConnections store={store} /> },
                  { id: "nodes", title: "All nodes", content: () => <AllNodes store={store} /> },
                ]}
              />
            </Panel>
          }
          second={
            <Panel id="feature" title="Feature">
              <FeatureDetail store={store} />
            </Panel>
          }
        />
      }
    />
  );
}

function Panel({ id, title, children }: { id: string; title: string; children: ComponentChildren }) {
  return (
    <section id={id} class={`panel panel-${id}`} aria-labelledby={`${id}-title`} tabIndex={-1}>
      <h2 id={`${id}-title`} class="unseen">
        {title}
      </h2>
      <ErrorBoundary name={title}>{children}</ErrorBoundary>
    </section>
  );
}
