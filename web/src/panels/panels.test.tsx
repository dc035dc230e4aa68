// The panels on a real store: graphs of the fixtures, a server of a few lines that keeps what it is sent.

import { cleanup, configure, fireEvent, render, screen, waitFor, within } from "@testing-library/preact";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { featureRecord, hostile, legacy, odd, toy } from "../../fixtures/generate";
import type { Api } from "../api/client";
import { ApiError } from "../api/client";
import { readGraph } from "../core/read";
import { createStore, type PageStore } from "../store/create";
import { AllNodes } from "./all-nodes";
import { Dialogs } from "./dialogs";
import { FeatureDetail } from "./feature-detail";
import { GraphPicker } from "./graph-picker";
import { installKeyboard } from "./keyboard";
import { NodeConnections } from "./node-connections";
import { Scores } from "./scores";
import { TopBar } from "./top-bar";
import { ViewNotice } from "./view-notice";

// A time-out is no assertion: it must never end what is only slow on a busy machine.
configure({ asyncUtilTimeout: 60_000 });

/** A server in memory. `down` makes every request fail as if it were gone. */
class Server implements Api {
  readonly files = new Map<string, string>();
  down = false;
  saves = 1;
  readonly asked: string[] = [];

  constructor() {
    for (const graph of [toy(), legacy(), hostile()]) this.files.set(graph.metadata.slug, JSON.stringify(graph));
    this.files.set("odd", odd());
  }

  private answer<T>(what: string, value: () => T): Promise<T> {
    this.asked.push(what);
    if (this.down) return Promise.reject(new ApiError(0, "unreachable", "The server cannot be reached."));
    return Promise.resolve().then(value);
  }

  entries = () =>
    this.answer("entries", () =>
      [...this.files.keys()].map((slug) => ({
        slug,
        scan: "fixtures/toy",
        prompt: `prompt of ${slug}`,
        tokens: [`prompt`, ` of`, ` ${slug}`],
        titlePrefix: "",
      })),
    );
  graph = (slug: string) =>
    this.answer(`graph ${slug}`, () => ({ bytes: new TextEncoder().encode(this.files.get(slug)), etag: `"${this.saves}"` }));
  etag = (slug: string) => this.answer(`etag ${slug}`, () => `"${this.saves}"` as string | null);
  saveView = (slug: string, view: Record<string, unknown>, etag: string) =>
    this.answer(`save ${slug}`, () => {
      if (etag !== `"${this.saves}"`) throw new ApiError(409, "conflict", "The file has changed.", `"${this.saves}"`);
      this.files.set(slug, JSON.stringify({ ...JSON.parse(this.files.get(slug)!), qParams: view }));
      this.saves++;
      return { etag: `"${this.saves}"` };
    });
  upload = () =>
    this.answer("upload", () => {
      throw new ApiError(422, "invalid", "Not a graph.", null, [
        { path: "/nodes/3/layer", reason: "expected a string or an integer" },
        { path: "/links/0/source", reason: "no such node" },
      ]);
    });
  rename = (slug: string, to: string) =>
    this.answer(`rename ${slug} ${to}`, () => {
      this.files.set(to, this.files.get(slug)!);
      this.files.delete(slug);
      return { slug: to, etag: null };
    });
  remove = (slug: string) =>
    this.answer(`remove ${slug}`, () => {
      this.files.delete(slug);
    });
  scores = () =>
    this.answer("scores", () => ({
      graph: { replacement: 0.77634, completeness: 0.9 },
      subgraph: { replacement: null, completeness: null },
    }));
  feature = (_scan: string, layer: number, index: number) =>
    this.answer(`feature ${layer} ${index}`, () => {
      if (index === 11) throw new ApiError(404, "no_feature_data", "The set has no record of this feature.");
      return featureRecord(layer, index) as unknown;
    });
}

let server: Server;
let store: PageStore;
const user = userEvent.setup();

async function open(slug: string): Promise<void> {
  await store.open(slug);
  expect(store.graph.value.state).toBe("ready");
}

beforeEach(() => {
  history.replaceState(null, "", "/");
  localStorage.clear();
  server = new Server();
  store = createStore({ api: server, read: (file, slug) => Promise.resolve(readGraph(file, slug)), storage: null });
});

afterEach(() => {
  cleanup();
  store.stop();
});

const ix = (id: string) => {
  const load = store.graph.value;
  return load.state === "ready" ? load.value.byId.get(id)! : -1;
};
const lines = (list: string) =>
  within(screen.getByRole("listbox", { name: list }))
    .getAllByRole("option")
    .map((line) => line.dataset.node);

test("connections list what goes in and out by share, and a click goes there", async () => {
  await open("toy-sky");
  render(<NodeConnections store={store} />);
  expect(screen.getByText(/Select a node/)).toBeTruthy();
  store.select({ node: "2_3_4" });
  await waitFor(() => expect(lines("Input features")).toEqual(["1_7_2", "1_7_4", "E_900_2", "1_-1_4"]));
  expect(lines("Output features")).toEqual(["4_512_4", "4_513_4"]);
  const first = screen.getByRole("listbox", { name: "Input features" }).querySelector("[data-node='1_7_2']")!;
  // 3 of |3| + |1.5| + |-0.75| + |0.5|.
  expect(first.textContent).toContain("+3.000");
  expect(first.textContent).toContain("52.2 %");
  expect(first.textContent).toContain("←");
  expect(first.textContent).toContain("[sky]");
  await user.click(first);
  expect(store.selectedNode.value).toBe(ix("1_7_2"));
});

test("a share of an output is relative to the other node's inputs", async () => {
  await open("toy-sky");
  store.select({ node: "2_3_4" });
  render(<NodeConnections store={store} />);
  const line = screen.getByRole("listbox", { name: "Output features" }).querySelector("[data-node='4_512_4']")!;
  // 1.9 of |1.9| + |-0.3| + |-0.4| + |0.7|.
  expect(line.textContent).toContain("57.6 %");
});

test("sorting by weight the other way round", async () => {
  await open("toy-sky");
  store.select({ node: "2_3_4" });
  render(<NodeConnections store={store} />);
  const inputs = within(screen.getByRole("region", { name: "Input features" }));
  await user.click(inputs.getByRole("button", { name: /weight/ }));
  await user.click(inputs.getByRole("button", { name: /weight/ }));
  expect(lines("Input features")).toEqual(["1_-1_4", "E_900_2", "1_7_4", "1_7_2"]);
});

test("the list has one tab stop; arrows point, Enter goes, Ctrl+Enter pins", async () => {
  await open("toy-sky");
  store.select({ node: "2_11_4" });
  render(<NodeConnections store={store} />);
  const list = screen.getByRole("listbox", { name: "Input features" });
  list.focus();
  await user.keyboard("{ArrowDown}");
  expect(store.hover.value).toBe(ix("1_7_4"));
  expect(document.getElementById(list.getAttribute("aria-activedescendant")!)?.dataset.node).toBe("1_7_4");
  await user.keyboard("{ArrowDown}{Control>}{Enter}{/Control}");
  expect(store.view.value.pinned).toContain("0_4_1");
  await user.keyboard("{Enter}");
  expect(store.selectedNode.value).toBe(ix("0_4_1"));
});

test("a supernode has summed lists, and can be dissolved", async () => {
  await open("toy-sky");
  store.select({ supernode: store.view.value.supernodes[0]!.key });
  render(<NodeConnections store={store} />);
  expect(screen.getByTestId("selection-head").textContent).toContain("sky");
  expect(lines("Output features")).toContain("2_3_4");
  await user.click(screen.getByRole("button", { name: "Ungroup" }));
  expect(store.view.value.supernodes).toHaveLength(0);
});

test("the feature page shows numbers, marker and centred examples of the selected feature", async () => {
  await open("toy-sky");
  store.select({ node: "1_7_2" });
  render(<FeatureDetail store={store} />);
  await waitFor(() => expect(screen.getByTestId("examples")).toBeTruthy());
  expect(screen.getByText("Feature L1/7")).toBeTruthy();
  const record = featureRecord(1, 7) as {
    quantile_values: number[];
    histogram: number[];
    act_min: number;
    act_max: number;
    activation_frequency: number;
  };
  const rank = record.quantile_values.findIndex((value) => value >= 3.25);
  expect(screen.getByTestId("activation").textContent).toMatch(
    new RegExp(`^3\\.25 \\(${rank < 0 ? 100 : rank + 1}(st|nd|rd|th) percentile\\)$`),
  );
  expect(screen.getByTestId("frequency").textContent).toBe(`${(record.activation_frequency * 100).toFixed(3)} %`);
  const bar = Math.floor(((3.25 - record.act_min) / (record.act_max - record.act_min)) * record.histogram.length);
  expect(Number(screen.getByTestId("histogram-current").dataset.bar)).toBe(Math.min(record.histogram.length - 1, bar));
  expect(screen.getAllByTestId("train-token").length).toBeGreaterThan(0);
});

test("a feature without a label shows the automatic one, marked, until it gets a label", async () => {
  await open("toy-sky");
  store.select({ node: "1_7_2" });
  render(<FeatureDetail store={store} />);
  const automatic = await screen.findByTestId("automatic-label");
  expect(automatic.textContent).toBe("automatic on sky, blue; promotes azure");
  store.setLabel(ix("1_7_2"), "the sky");
  await waitFor(() => expect(screen.queryByTestId("automatic-label")).toBeNull());
});

test("a hovered node goes before the selected one", async () => {
  await open("toy-sky");
  store.select({ node: "1_7_2" });
  render(<FeatureDetail store={store} />);
  store.setHover(ix("4_512_4"));
  await waitFor(() => expect(screen.getByTestId("feature").dataset.node).toBe("4_512_4"));
  expect(screen.getByTestId("probability").textContent).toBe("64.0 %");
  store.setHover(null);
  await waitFor(() => expect(screen.getByTestId("feature").dataset.node).toBe("1_7_2"));
});

test("no data and errors are told apart, and an error can be tried again", async () => {
  await open("toy-sky");
  render(<FeatureDetail store={store} />);
  store.select({ node: "2_11_4" });
  await waitFor(() => expect(screen.getByTestId("feature-none")).toBeTruthy());
  server.down = true;
  store.select({ node: "0_4_1" });
  await waitFor(() => expect(screen.getByTestId("feature-error").textContent).toContain("cannot be reached"));
  server.down = false;
  await user.click(screen.getByRole("button", { name: "Try again" }));
  await waitFor(() => expect(screen.getByTestId("examples")).toBeTruthy());
});

test("a label is edited in place: Enter keeps, Esc drops, empty removes, at every position of the feature", async () => {
  await open("toy-sky");
  store.select({ node: "1_7_2" });
  render(<FeatureDetail store={store} />);
  await user.click(screen.getByRole("button", { name: "Edit label" }));
  await user.keyboard("weather words{Enter}");
  expect(store.labels.value[ix("1_7_2")]).toBe("weather words");
  expect(store.labels.value[ix("1_7_4")]).toBe("weather words");
  await waitFor(() => expect(screen.getByTestId("feature-label").textContent).toBe("weather words"));
  await user.click(screen.getByRole("button", { name: "Edit label" }));
  await user.keyboard("other{Escape}");
  expect(store.labels.value[ix("1_7_2")]).toBe("weather words");
  await user.click(screen.getByRole("button", { name: "Edit label" }));
  await user.clear(screen.getByRole("textbox", { name: "Label" }));
  await user.keyboard("{Enter}");
  expect(store.view.value.labels.size).toBe(0);
});

test("all nodes can be filtered, sorted and selected", async () => {
  await open("toy-sky");
  render(<AllNodes store={store} />);
  const grid = screen.getByRole("grid", { name: "All nodes" });
  const rows = () => [...grid.querySelectorAll<HTMLElement>("[data-node]")].map((line) => line.dataset.node);
  expect(rows()).toHaveLength(15);
  expect(rows()[0]).toBe("2_3_4");
  await user.selectOptions(screen.getByRole("combobox", { name: "Type" }), "error");
  expect(rows()).toEqual(["1_-1_4", "2_-1_4"]);
  await user.selectOptions(screen.getByRole("combobox", { name: "Type" }), "all");
  await user.type(screen.getByRole("searchbox"), "blue");
  await waitFor(() => expect(rows()).toEqual(["4_512_4"]));
  await user.click(grid.querySelector("[data-node='4_512_4']")!);
  expect(store.selectedNode.value).toBe(ix("4_512_4"));
});

test("scores have four decimals, N/A where there is none", async () => {
  await open("toy-sky");
  render(<Scores store={store} />);
  await waitFor(() => expect(screen.getByTestId("graph-replacement").textContent).toBe("0.7763"));
  expect(screen.getByTestId("subgraph-completeness").textContent).toBe("N/A");
});

test("the picker reads the list anew each time it opens, finds, and opens by keyboard", async () => {
  await open("toy-sky");
  render(<GraphPicker store={store} />);
  await user.click(screen.getByTestId("picker"));
  await waitFor(() => expect(screen.getAllByRole("option")).toHaveLength(4));
  await user.keyboard("{Escape}");
  expect(document.activeElement).toBe(screen.getByTestId("picker"));
  server.files.set("brand-new", server.files.get("toy-sky")!);
  await user.click(screen.getByTestId("picker"));
  await waitFor(() => expect(screen.getAllByRole("option")).toHaveLength(5));
  await user.keyboard("legacy{Enter}");
  await waitFor(() => expect(store.graph.value).toMatchObject({ state: "ready", value: { slug: "legacy" } }));
  // The pins are those of that graph's own view.
  expect(store.view.value.pinned).toEqual(["23_8855_2", "11_15631_1", "Lgt_31_2"]);
});

test("the threshold slider says what it keeps", async () => {
  await open("toy-sky");
  render(<TopBar store={store} onDialog={() => {}} />);
  expect(screen.getByTestId("pruning").getAttribute("aria-valuetext")).toBe("keep 80 % of influence, 15 of 15 nodes");
  store.setPruning(0.5);
  await waitFor(() =>
    expect(screen.getByTestId("pruning").getAttribute("aria-valuetext")).toBe("keep 50 % of influence, 11 of 15 nodes"),
  );
});

test("steps of the slider that are overtaken within a frame are dropped, and letting go does not wait for the frame", async () => {
  await open("toy-sky");
  const changes: (number | null)[] = [];
  const counting: PageStore = {
    ...store,
    setPruning: (to) => {
      changes.push(to);
      store.setPruning(to);
    },
  };
  render(<TopBar store={counting} onDialog={() => {}} />);
  const slider = screen.getByTestId<HTMLInputElement>("pruning");
  const frames: FrameRequestCallback[] = [];
  const frame = vi.spyOn(globalThis, "requestAnimationFrame").mockImplementation((callback) => frames.push(callback));
  try {
    for (const value of ["0.7", "0.6", "0.5", "0.4"]) fireEvent.input(slider, { target: { value } });
    expect([changes, frames.length]).toEqual([[0.7], 1]);
    frames[0](0);
    expect([changes, frames.length]).toEqual([[0.7, 0.4], 2]);
    for (const value of ["0.6", "0.5"]) fireEvent.input(slider, { target: { value } });
    fireEvent.change(slider);
    expect(changes).toEqual([0.7, 0.4, 0.5]);
    expect(store.view.value.pruningThreshold).toBe(0.5);
  } finally {
    frame.mockRestore();
  }
});

test("no slider where the file has no threshold", async () => {
  await open("legacy");
  render(<TopBar store={store} onDialog={() => {}} />);
  expect(screen.queryByTestId("pruning")).toBeNull();
});

test("search goes from hit to hit", async () => {
  await open("toy-sky");
  render(<TopBar store={store} onDialog={() => {}} />);
  await user.type(screen.getByTestId("search"), "id:1_7_2{Enter}");
  expect(store.selectedNode.value).toBe(ix("1_7_2"));
  expect(screen.getByTestId("search-count").textContent).toBe("1 found");
});

test("saving says its states, and a conflict asks", async () => {
  await open("toy-sky");
  let asked = "";
  render(<TopBar store={store} onDialog={(name) => (asked = name)} />);
  store.togglePin("2_11_4");
  const button = screen.getByTestId("save");
  await waitFor(() => expect(button.dataset.state).toBe("dirty"));
  await user.click(button);
  await waitFor(() => expect(button.dataset.state).toBe("saved"));
  expect(JSON.parse(server.files.get("toy-sky")!).qParams.pinnedIds).toContain("2_11_4");
  server.saves++;
  store.togglePin("2_11_4");
  await user.click(button);
  await waitFor(() => expect(button.dataset.state).toBe("conflict"));
  await user.click(button);
  expect(asked).toBe("conflict");
});

test("of a conflict, overwriting saves one's own view", async () => {
  await open("toy-sky");
  server.saves++;
  store.togglePin("2_11_4");
  await store.save();
  expect(store.saveState.value).toBe("conflict");
  render(<Dialogs name="conflict" store={store} onClose={() => {}} />);
  await user.click(screen.getByRole("button", { name: "Overwrite" }));
  await waitFor(() => expect(JSON.parse(server.files.get("toy-sky")!).qParams.pinnedIds).toContain("2_11_4"));
});

test("an upload that is refused lists place and reason", async () => {
  render(<Dialogs name="upload" store={store} onClose={() => {}} />);
  await user.upload(screen.getByLabelText(/\.json file/), new File(["{}"], "bad.json", { type: "application/json" }));
  const report = await screen.findByTestId("upload-problems");
  expect(report.textContent).toContain("bad.json was not added: 2 problems.");
  expect(report.textContent).toContain("/nodes/3/layer expected a string or an integer");
});

test("renaming refuses impossible names and follows the new one", async () => {
  await open("toy-sky");
  let closed = false;
  render(<Dialogs name="rename" store={store} onClose={() => (closed = true)} />);
  const field = screen.getByRole("textbox", { name: "New name" });
  const button = screen.getByRole("button", { name: "Rename" }) as HTMLButtonElement;
  expect(button.disabled).toBe(true);
  await user.clear(field);
  await user.type(field, "../x");
  expect(button.disabled).toBe(true);
  await user.clear(field);
  await user.type(field, "sky-2");
  await user.click(button);
  await waitFor(() => expect(closed).toBe(true));
  expect(server.files.has("sky-2")).toBe(true);
});

test("deleting asks, and does nothing when cancelled", async () => {
  await open("toy-sky");
  render(<Dialogs name="delete" store={store} onClose={() => {}} />);
  await user.click(screen.getByRole("button", { name: "Cancel" }));
  expect(server.files.has("toy-sky")).toBe(true);
  await user.click(screen.getByRole("button", { name: "Delete" }));
  await waitFor(() => expect(server.files.has("toy-sky")).toBe(false));
});

test("both forms of a link are offered, and a pasted one opens with its pins", async () => {
  await open("toy-sky");
  render(<Dialogs name="share" store={store} onClose={() => {}} />);
  const links = screen.getAllByRole("textbox").map((field) => (field as HTMLTextAreaElement).value);
  expect(links).toHaveLength(2);
  expect(links[0]).toContain("slug=toy-sky");
  expect(links[1]).toMatch(/\/graph\?/);
  cleanup();
  let closed = false;
  render(<Dialogs name="import" store={store} onClose={() => (closed = true)} />);
  await user.click(screen.getByRole("textbox"));
  await user.paste("http://localhost:8041/index.html?slug=toy-sky&pinnedIds=2_11_4,4_513_4");
  await user.click(screen.getByRole("button", { name: "Open" }));
  expect(store.view.value.pinned).toEqual(["2_11_4", "4_513_4"]);
  expect(closed).toBe(true);
});

test("oddities of a file are counted in its description", async () => {
  await open("odd");
  render(<Dialogs name="info" store={store} onClose={() => {}} />);
  const list = screen.getByTestId("diagnostics");
  expect(list.querySelectorAll("li").length).toBeGreaterThan(0);
  expect(list.textContent).toContain("2");
});

test("text from a file is text", async () => {
  await open("hostile");
  store.select({ node: "0_1_0" });
  const { container } = render(
    <>
      <NodeConnections store={store} />
      <AllNodes store={store} />
      <FeatureDetail store={store} />
      <GraphPicker store={store} />
    </>,
  );
  expect(container.querySelector("img, script, b")).toBeNull();
  expect(container.textContent).toContain("<script>");
});

test("keys do nothing while text is typed, and leaving the window leaves every mode", async () => {
  await open("toy-sky");
  let helped = 0;
  const stop = installKeyboard(store, { help: () => helped++, search: () => {} });
  render(<input type="text" aria-label="some field" />);
  store.select({ node: "2_11_4" });
  const field = screen.getByRole("textbox", { name: "some field" });
  await user.type(field, "g?p");
  expect(store.grouping.value.on).toBe(false);
  expect(helped).toBe(0);
  expect(store.view.value.pinned).not.toContain("2_11_4");
  field.blur();
  await user.keyboard("?");
  expect(helped).toBe(1);
  await user.keyboard("p");
  expect(store.view.value.pinned).toContain("2_11_4");
  await user.keyboard("{Control>}z{/Control}");
  expect(store.view.value.pinned).not.toContain("2_11_4");
  await user.keyboard("{g>}");
  expect(store.grouping.value.on).toBe(true);
  window.dispatchEvent(new Event("blur"));
  expect(store.grouping.value.on).toBe(false);
  await user.keyboard("{/g}{Shift>}");
  expect(store.hold.value).toBe(true);
  await user.keyboard("{/Shift}{Escape}");
  expect(store.hold.value).toBe(false);
  expect(store.view.value.selection).toBeNull();
  stop();
});

test("holding G groups what is clicked meanwhile", async () => {
  await open("toy-sky");
  const stop = installKeyboard(store, { help: () => {}, search: () => {} });
  await user.keyboard("{g>}");
  store.pick({ node: "2_3_4" });
  store.pick({ node: "4_512_4" });
  await user.keyboard("{/g}");
  expect(store.view.value.supernodes.some(({ members }) => members.includes("2_3_4") && members.includes("4_512_4"))).toBe(
    true,
  );
  stop();
});

test("what a link names and the graph has not is said until it is dismissed", async () => {
  history.replaceState(null, "", "/?slug=toy-sky&pinnedIds=1_7_2,9_9_9&linkType=x&pruningThreshold=x&clickedId=Nowhere");
  store.stop();
  store = createStore({ api: server, read: (file, slug) => Promise.resolve(readGraph(file, slug)), storage: null });
  let asked: string | null = null;
  render(<ViewNotice store={store} onDialog={(name) => (asked = name)} />);
  const region = screen.getByRole("status");
  expect(region.textContent).toBe("");
  await store.start();
  await waitFor(() => expect(region.textContent).toContain("9_9_9 is no node of this graph"));
  expect(within(region).getAllByRole("listitem")).toHaveLength(3);
  await userEvent.click(within(region).getByRole("button", { name: "1 more" }));
  expect(asked).toBe("info");
  await userEvent.click(within(region).getByRole("button", { name: "Dismiss" }));
  expect(region.textContent).toBe("");
});

test("what other programs cannot read of a link is said before it is copied", async () => {
  await open("toy-sky");
  store.importLink('?supernodes=[["tokens","E_900_2"]]');
  render(<Dialogs name="share" store={store} onClose={() => {}} />);
  expect(screen.getByTestId("link-problems").textContent).toContain("“tokens” holds E_900_2");
  cleanup();
  store.importLink("?pinnedIds=1_7_2");
  render(<Dialogs name="share" store={store} onClose={() => {}} />);
  expect(screen.queryByTestId("link-problems")).toBeNull();
});
