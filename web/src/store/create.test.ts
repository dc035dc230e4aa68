// The store with a server in memory: opening, switching, editing, saving, conflicts, the address, labels and late answers.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { toy } from "../../fixtures/generate";
import { Server } from "../../fixtures/server";
import { readGraph } from "../core/read";
import type { Graph } from "../core/types";
import { readView } from "../core/view";
import { createStore, type PageStore } from "./create";
import { debugOf } from "./debug";

let server: Server;
let store: PageStore;
const make = () =>
  createStore({ api: server, read: (file, slug) => Promise.resolve(readGraph(file, slug)), storage: localStorage });

beforeEach(() => {
  vi.useFakeTimers();
  history.replaceState(null, "", "/");
  localStorage.clear();
  server = new Server();
  store = make();
});
afterEach(() => {
  store.stop();
  vi.useRealTimers();
});

/** Lets timers of up to a second fire and promises settle. */
const settle = (ms = 1000) => vi.advanceTimersByTimeAsync(ms);
const graph = (): Graph => {
  const load = store.graph.value;
  if (load.state !== "ready") throw new Error(`the graph is ${load.state}`);
  return load.value;
};
const savedPins = () => readView(server.files.get("toy-sky")?.qParams as Record<string, unknown>).parts.pinned;
const ix = (id: string) => graph().byId.get(id) as number;
const params = () => new URLSearchParams(location.search);
/** The page as after a reload: a new store on the same address. */
async function reload(): Promise<void> {
  store.stop();
  store = make();
  await store.start();
  await settle();
}

describe("opening", () => {
  it("takes the first graph where the address names none, with its saved view", async () => {
    await store.start();
    await settle();
    expect(graph().slug).toBe("toy-sky");
    expect(store.view.value.pinned).toEqual(["4_512_4", "2_3_4", "1_7_2", "1_7_4", "E_900_2"]);
    expect(store.items.value.map(({ label }) => label)).toEqual(['Output " blue" (p=0.640)', "L2/3", "Emb: “ sky”", "sky"]);
    expect(store.saveState.value).toBe("clean");
    expect(params().get("slug")).toBe("toy-sky");
    expect(store.announcement.value).toBe("toy-sky: 15 nodes, 22 links.");
  });

  it("lets the address rule over the file", async () => {
    history.replaceState(null, "", "/?slug=toy-sky&pinnedIds=2_11_4&pruningThreshold=0.5&supernodes=bad&clickedId=undefined");
    await reload();
    expect(store.view.value.pinned).toEqual(["2_11_4"]);
    expect(store.view.value.pruningThreshold).toBe(0.5);
    expect(store.view.value.supernodes).toHaveLength(1);
    expect(store.problems.value).toEqual(["supernodes cannot be read and is left out: it is not JSON."]);
    expect(store.saveState.value).toBe("dirty");
  });

  it("shows pinned and clicked nodes above the threshold on first load", async () => {
    history.replaceState(null, "", "/?slug=toy-sky&pinnedIds=2_11_4&pruningThreshold=0.2&clickedId=0_4_1");
    await reload();
    expect(debugOf(store).visibleNodes.filter((id) => /^[0-2]/.test(id))).toEqual(["0_4_1", "1_7_2", "2_3_4", "2_11_4"]);
    store.select(null);
    expect(debugOf(store).visibleNodes).not.toContain("0_4_1");
  });

  it("never carries pins, selection or search over to another graph, and Back brings them again", async () => {
    await store.start();
    await settle();
    // The entry that is left is written before the next is made, even if its turn has not come yet.
    const written: { state: unknown; search: string }[] = [];
    const push = vi.spyOn(history, "pushState").mockImplementation((...args) => {
      written.push({ state: history.state, search: location.search });
      push.mockRestore();
      history.pushState(...args);
    });
    store.togglePin("0_4_1");
    store.select({ node: "0_4_1" });
    store.query.value = "x";
    await store.open("np-lorsa");
    expect(store.view.value).toMatchObject({ pinned: [], supernodes: [], selection: null });
    expect([store.query.value, store.canUndo.value]).toEqual(["", false]);
    await settle();
    expect(location.search).toBe("?slug=np-lorsa");
    expect(written.at(-1)?.search).toContain("0_4_1");
    // What the browser does on Back.
    history.replaceState(written.at(-1)?.state, "", `/${written.at(-1)?.search}`);
    window.dispatchEvent(new PopStateEvent("popstate", { state: history.state }));
    await settle();
    expect(graph().slug).toBe("toy-sky");
    expect(store.view.value.pinned).toContain("0_4_1");
  });

  it("shows only the last graph asked for, whichever answer comes last", async () => {
    let release = () => {};
    server.hold = new Promise((resolve) => {
      release = resolve;
    });
    const first = store.open("toy-sky");
    const second = store.open("legacy");
    expect(store.graph.value.state).toBe("loading");
    release();
    await Promise.all([first, second]);
    expect(graph().slug).toBe("legacy");
  });

  it("says why a graph cannot be opened, and tries again when asked", async () => {
    server.down = true;
    await store.open("toy-sky");
    const load = store.graph.value;
    expect(load).toMatchObject({ state: "error", message: "The server cannot be reached." });
    server.down = false;
    if (load.state === "error") load.retry?.();
    await settle();
    expect(graph().slug).toBe("toy-sky");
    await store.open("missing");
    expect(store.graph.value).toMatchObject({ state: "error", message: "There is no graph named missing." });
    server.put("broken", [] as never);
    await store.open("broken");
    expect(store.graph.value).toMatchObject({
      state: "error",
      message: "broken is not a graph file: an object is expected at its top.",
    });
  });
});

describe("the address", () => {
  beforeEach(async () => {
    await store.open("toy-sky");
    await settle();
  });

  it("follows the view without new entries of the history", async () => {
    const entries = history.length;
    store.togglePin("0_9_2");
    store.setPruning(0.5);
    store.setLinkType("input");
    await settle();
    expect(history.length).toBe(entries);
    expect(params().get("pinnedIds")).toBe("4_512_4,2_3_4,1_7_2,1_7_4,E_900_2,0_9_2");
    expect([params().get("pruningThreshold"), params().get("linkType")]).toEqual(["0.5", "input"]);
  });

  it("brings everything back on a reload, places too", async () => {
    store.togglePin("0_9_2");
    store.moveItem("n:0_9_2", 0.25, 0.5);
    store.renameSupernode("1", "a & b # 100% “x”");
    store.setLabel(ix("2_3_4"), "label");
    store.select({ supernode: "1" });
    await settle();
    const before = store.view.value;
    await reload();
    expect(store.view.value).toEqual(before);
    expect(store.saveState.value).toBe("dirty");
  });

  it("says that the file's pins are gone when they are", async () => {
    store.clearPins();
    await settle();
    const address = location.search;
    history.replaceState(null, "", "/");
    history.replaceState(null, "", `/${address}`);
    await reload();
    expect(store.view.value).toMatchObject({ pinned: [], supernodes: [] });
  });

  it("of a link for others brings the same view", async () => {
    store.group([{ node: "2_3_4" }, { node: "2_11_4" }]);
    store.setLabel(ix("1_7_2"), "blue");
    const before = store.view.value;
    const link = store.link("circuit-tracer");
    expect(link.startsWith(`${location.origin}/?slug=toy-sky&pinnedIds=`)).toBe(true);
    await store.open("legacy");
    expect(store.importLink(link)).toEqual([]);
    await settle();
    expect(graph().slug).toBe("toy-sky");
    expect(store.view.value.pinned).toEqual(before.pinned);
    expect(store.view.value.supernodes.map(({ label, members }) => [label, members])).toEqual(
      before.supernodes.map(({ label, members }) => [label, members]),
    );
    expect(store.view.value.labels).toEqual(new Map([["43", "blue"]]));
  });
});

it("a difference of logits is kept in the address, pinned like any node, and no business of the server", async () => {
  history.replaceState(null, "", "/?slug=toy-sky&logitDiff=+blue__vs__+clear&pinnedIds=logit-diff,2_3_4");
  await reload();
  expect(store.items.value.map(({ label }) => label)).toEqual(["Logit diff:  blue −  clear", "L2/3"]);
  expect(store.edges.value).toHaveLength(1);
  expect(params().get("logitDiff")).toBe(" blue__vs__ clear");
  await reload();
  expect(graph().nodes).toHaveLength(16);
  expect(server.asked).toContain("scores toy-sky 2_3_4");
  expect(store.importLink("?slug=toy-sky&pinnedIds=0_4_1")).toEqual([]);
  expect(graph().nodes).toHaveLength(16);
});

describe("pasted links", () => {
  it("of the open graph are one step, keep labels, and are not remembered", async () => {
    await store.open("toy-sky");
    store.setLabel(ix("2_3_4"), "mine");
    const before = store.view.value;
    expect(store.importLink('?slug=toy-sky&pinnedIds=0_4_1&clerps=[["43","theirs"]]')).toEqual([]);
    expect(store.view.value.pinned).toEqual(["0_4_1"]);
    expect(store.view.value.labels).toEqual(
      new Map([
        ["18", "mine"],
        ["43", "theirs"],
      ]),
    );
    store.undo();
    expect(store.view.value).toBe(before);
    store.redo();
    expect(localStorage.getItem("circuit-tracer.labels.fixtures/toy-transcoders")).toBe('{"2/3":"mine"}');
  });

  it("that name no graph of the folder change nothing", async () => {
    await store.start();
    await settle();
    const before = store.view.value;
    expect(store.importLink("https://www.neuronpedia.org/m/graph?slug=other&pinnedIds=1_7_2")).toEqual([
      "There is no graph named other in this folder.",
    ]);
    expect(store.importLink("hello")).toHaveLength(1);
    expect(store.view.value).toBe(before);
  });
});

describe("editing", () => {
  beforeEach(async () => {
    await store.open("toy-sky");
    await settle();
  });

  it("undoes and redoes, a drag and a stretch of typing at once", () => {
    const start = store.view.value;
    for (const x of [0.1, 0.2, 0.3]) store.moveItem("n:2_3_4", x, 0.5);
    for (const text of ["b", "bl", "blue"]) store.setLabel(ix("1_7_2"), text);
    store.setPruning(0.5);
    store.setPruning(0.4);
    expect(store.canUndo.value).toBe(true);
    store.undo();
    expect(store.view.value.pruningThreshold).toBeNull();
    store.undo();
    expect(store.view.value.labels.size).toBe(0);
    expect(localStorage.length).toBe(0);
    store.undo();
    expect(store.view.value).toBe(start);
    expect([store.canUndo.value, store.canRedo.value]).toEqual([false, true]);
    store.redo();
    store.redo();
    expect(store.labels.value[ix("1_7_4")]).toBe("blue");
    expect(localStorage.length).toBe(1);
  });

  it("selecting is no step of its own", () => {
    store.select({ node: "2_3_4" });
    expect([store.selectedNode.value, store.canUndo.value, store.saveState.value]).toEqual([ix("2_3_4"), false, "clean"]);
    expect(store.announcement.value).toBe("L2/3, feature, layer 2, position 4, 4 inputs, 2 outputs, pinned.");
    store.togglePin("0_4_1");
    store.undo();
    expect(store.selectedNode.value).toBe(ix("2_3_4"));
  });

  it("draws links by selection and by link type", () => {
    const drawn = () => debugOf(store).drawnLinks.map(({ source, target }) => `${source}>${target}`);
    expect(drawn().sort()).toEqual([
      "1_7_2>2_3_4",
      "1_7_2>4_512_4",
      "1_7_4>2_3_4",
      "2_3_4>4_512_4",
      "E_900_2>1_7_2",
      "E_900_2>2_3_4",
    ]);
    store.setLinkType("output");
    expect(drawn()).toHaveLength(9);
    store.select({ supernode: "1" });
    expect(store.selectedNode.value).toBeNull();
    expect(drawn()).toHaveLength(10);
    expect(store.connections.value?.inputs.map(({ node }) => graph().nodes[node].id)).toEqual([
      ...["0_9_2", "E_900_2", "0_4_1", "E_88_4", "E_77_3"],
    ]);
  });

  it("groups by a mode that picks, and not when left early", () => {
    store.pick({ node: "2_11_4" });
    expect(store.grouping.value).toEqual({ on: false, picked: [] });
    store.startGrouping();
    store.pick({ node: "2_11_4" });
    store.pick({ node: "0_4_1" });
    store.pick({ node: "0_9_2" });
    store.pick({ node: "0_4_1" });
    expect(store.grouping.value.picked).toEqual([{ node: "2_11_4" }, { node: "0_9_2" }]);
    store.endGrouping();
    expect(store.view.value.supernodes.at(-1)?.members).toEqual(["2_11_4", "0_9_2"]);
    const before = store.view.value;
    store.startGrouping();
    store.pick({ node: "2_11_4" });
    store.pick({ node: "E_2_0" });
    store.endGrouping(true);
    expect(store.view.value).toBe(before);
    store.startGrouping();
    store.pick({ node: "E_2_0" });
    store.endGrouping();
    expect(store.view.value).toBe(before);
  });

  it("keeps what is hovered while held, and forgets it when it is pruned away", () => {
    store.setHover(ix("0_4_1"));
    store.hold.value = true;
    store.setHover(ix("0_9_2"));
    store.setHover(null);
    expect(store.hover.value).toBe(ix("0_4_1"));
    store.hold.value = false;
    store.setPruning(0.3);
    expect(store.hover.value).toBeNull();
  });

  it("recomputes nothing that a change does not touch", () => {
    store.setPruning(0.7);
    const [visible, drawn, edges] = [store.visible.value, store.drawnLinks.value, store.edges.value];
    store.setHover(ix("0_4_1"));
    store.moveItem("n:2_3_4", 0.1, 0.1);
    store.toggleHidden("0_4_1");
    expect(store.visible.value).toBe(visible);
    expect(store.drawnLinks.value).toBe(drawn);
    expect(store.edges.value).toBe(edges);
    store.select({ node: "2_3_4" });
    expect(store.visible.value).toBe(visible);
    expect(store.drawnLinks.value).not.toBe(drawn);
  });

  it("searches", () => {
    expect(store.hits.value).toBeNull();
    store.query.value = "is:pinned type:feature";
    const found = () =>
      graph()
        .nodes.filter(({ ix: n }) => store.hits.value?.[n] === 1)
        .map(({ id }) => id);
    expect(found()).toEqual(["1_7_2", "1_7_4", "2_3_4"]);
    store.togglePin("2_3_4");
    expect(found()).toEqual(["1_7_2", "1_7_4"]);
  });
});

describe("labels", () => {
  it("are remembered per scan, at every position and in every graph", async () => {
    await store.open("toy-sky");
    store.setLabel(ix("1_7_2"), "blue");
    store.setLabel(ix("E_900_2"), "only here");
    expect(localStorage.getItem("circuit-tracer.labels.fixtures/toy-transcoders")).toBe('{"1/7":"blue"}');
    const other = toy();
    other.metadata.slug = "other";
    server.put("other", other as never);
    await store.open("other");
    expect(store.labels.value[ix("1_7_4")]).toBe("blue");
    expect(store.saveState.value).toBe("clean");
    store.setLabel(ix("1_7_4"), "");
    expect(localStorage.length).toBe(0);
    expect(store.labels.value[ix("1_7_2")]).toBe("L1/7");
  });

  it("go by a custom scan's own transcoders", async () => {
    const custom = toy();
    custom.metadata = { ...custom.metadata, slug: "custom", scan: "custom--1", transcoder_list: ["zero", "one", "two"] };
    server.put("custom", custom as never);
    await store.open("custom");
    store.setLabel(ix("1_7_2"), "blue");
    expect(localStorage.getItem("circuit-tracer.labels.one")).toBe('{"1/7":"blue"}');
    store.setHover(ix("2_3_4"));
    await settle();
    expect(server.asked).toContain("feature two 2 3");
  });

  it("live on in the view where storage is refused or damaged", async () => {
    localStorage.setItem("circuit-tracer.labels.fixtures/toy-transcoders", "{broken");
    await store.open("toy-sky");
    store.stop();
    const refusing = {
      getItem: () => null,
      setItem: () => {
        throw new Error("full");
      },
      removeItem: () => {},
    };
    store = createStore({ api: server, read: (file, slug) => Promise.resolve(readGraph(file, slug)), storage: refusing });
    await store.open("toy-sky");
    store.setLabel(ix("1_7_2"), "blue");
    expect(store.labels.value[ix("1_7_2")]).toBe("blue");
  });
});

describe("saving", () => {
  beforeEach(async () => {
    await store.open("toy-sky");
    await settle();
  });

  it("writes the whole view, which opens again without parameters", async () => {
    store.togglePin("0_9_2");
    store.setLabel(ix("2_3_4"), "deep");
    store.setLinkType("either");
    store.setPruning(0.63);
    store.toggleHidden("2_-1_4");
    store.moveItem("s:1", 0.2, 0.3);
    store.select({ node: "2_3_4" });
    expect(store.saveState.value).toBe("dirty");
    const before = store.view.value;
    const saved = store.save();
    expect(store.saveState.value).toBe("saving");
    await saved;
    expect(store.saveState.value).toBe("saved");
    await settle(2500);
    expect(store.saveState.value).toBe("clean");
    const { parts, problems } = readView(server.files.get("toy-sky")?.qParams as Record<string, unknown>);
    expect(problems).toEqual([]);
    expect(parts.pinned).toEqual(before.pinned);

    localStorage.clear();
    history.replaceState(null, "", "/?slug=toy-sky");
    await reload();
    expect(store.view.value).toEqual(before);
    expect(store.saveState.value).toBe("clean");
  });

  it("keeps edits made meanwhile, and a second save comes after the first", async () => {
    store.togglePin("0_9_2");
    const first = store.save();
    store.togglePin("0_4_1");
    const second = store.save();
    await Promise.all([first, second]);
    expect(server.asked.filter((what) => what.startsWith("save"))).toEqual(['save toy-sky "1"', 'save toy-sky "2"']);
    await settle(2500);
    expect(store.saveState.value).toBe("clean");
    expect(savedPins()?.slice(-2)).toEqual(["0_9_2", "0_4_1"]);
  });

  it("does not write over what another wrote, unless told to", async () => {
    store.togglePin("0_9_2");
    server.put("toy-sky", { ...toy(), qParams: { pinnedIds: ["E_2_0"] } });
    await store.save();
    expect([store.saveState.value, store.saveMessage.value]).toEqual(["conflict", "The file has changed."]);
    expect(store.view.value.pinned).toContain("0_9_2");
    expect(savedPins()).toEqual(["E_2_0"]);
    await store.save({ overwrite: true });
    expect(store.saveState.value).toBe("saved");
    expect(savedPins()).toContain("0_9_2");
  });

  it("takes the other's file when asked, and undo still has one's own view", async () => {
    store.togglePin("0_9_2");
    const mine = store.view.value;
    server.put("toy-sky", { ...toy(), qParams: { pinnedIds: ["E_2_0"] } });
    await store.save();
    await store.open("toy-sky");
    expect(store.view.value.pinned).toEqual(["E_2_0"]);
    expect(store.saveState.value).toBe("clean");
    store.undo();
    expect(store.view.value).toBe(mine);
    await store.save();
    expect(store.saveState.value).toBe("saved");
  });

  it("shows a file that changed elsewhere on coming back to the page, when nothing is lost by it", async () => {
    store.select({ node: "1_7_2" });
    window.dispatchEvent(new Event("focus"));
    await settle();
    expect(store.view.value.pinned).toHaveLength(5);
    server.put("toy-sky", { ...toy(), qParams: { pinnedIds: ["E_2_0"] } });
    window.dispatchEvent(new Event("focus"));
    await settle();
    expect(store.view.value.pinned).toEqual(["E_2_0"]);
    expect(store.view.value.selection).toEqual({ node: "1_7_2" });
    expect(store.saveState.value).toBe("clean");
  });

  it("tells of a file that changed elsewhere under one's edits, which can be put over it", async () => {
    store.togglePin("0_9_2");
    server.put("toy-sky", { ...toy(), qParams: { pinnedIds: ["E_2_0"] } });
    window.dispatchEvent(new Event("focus"));
    await settle();
    expect(store.saveState.value).toBe("conflict");
    expect(store.view.value.pinned).toContain("0_9_2");
    await store.save({ overwrite: true });
    expect(store.saveState.value).toBe("saved");
    expect(savedPins()).toContain("0_9_2");
  });

  it("loses nothing when the server is gone", async () => {
    store.togglePin("0_9_2");
    server.down = true;
    await store.save();
    expect([store.saveState.value, store.saveMessage.value]).toEqual(["error", "The server cannot be reached."]);
    server.down = false;
    await store.save();
    expect(store.saveState.value).toBe("saved");
  });
});

describe("files", () => {
  beforeEach(async () => {
    await store.start();
    await settle();
  });

  it("download with labels and view, everything else as it was", () => {
    store.setLabel(ix("1_7_2"), "blue");
    const { qParams, nodes, ...rest } = JSON.parse(store.download()) as ReturnType<typeof toy>;
    const { qParams: _, nodes: before, ...other } = toy();
    expect(rest).toEqual(other);
    expect(nodes).toEqual(before.map((node) => (node.feature === 43 ? { ...node, clerp: "blue" } : node)));
    expect(qParams.clerps).toEqual([["43", "blue"]]);
  });

  it("are added, and refused with reasons", async () => {
    const file = (json: unknown) => new File([JSON.stringify(json)], "x.json");
    const other = toy();
    other.metadata.slug = "new";
    expect(await store.upload(file(other))).toEqual({ ok: true, slug: "new" });
    expect(await store.upload(file(other))).toEqual({
      ok: false,
      problems: [{ path: "", reason: "There is a graph of this name." }],
    });
    await settle();
    const list = store.entries.value;
    expect(list.state === "ready" && list.value.map(({ slug }) => slug)).toContain("new");
  });

  it("are renamed with what is being edited, and can be saved then", async () => {
    store.togglePin("0_9_2");
    await store.rename("sky-2");
    expect(graph().slug).toBe("sky-2");
    expect(store.view.value.pinned).toContain("0_9_2");
    expect(params().get("slug")).toBe("sky-2");
    await store.save();
    expect(store.saveState.value).toBe("saved");
  });

  it("are removed, and the next one opens", async () => {
    await store.remove();
    await settle();
    expect(graph().slug).toBe("legacy");
    for (const _ of [1, 2]) await store.remove();
    await settle();
    expect(store.graph.value.state).toBe("empty");
    expect(location.search).toBe("");
  });
});

describe("features", () => {
  beforeEach(async () => {
    await store.open("toy-sky");
    await settle();
    server.asked.length = 0;
  });
  const asked = () => server.asked.filter((what) => what.startsWith("feature"));

  it("load once the pointer rests, and are kept", async () => {
    for (const id of ["0_4_1", "0_9_2", "1_7_2"]) {
      store.setHover(ix(id));
      expect(store.feature.value).toEqual({ state: "loading" });
      await settle(20);
    }
    await settle();
    expect(asked()).toEqual(["feature fixtures/toy-transcoders 1 7"]);
    expect(store.feature.value).toMatchObject({ state: "ready", value: { index: 7 } });
    store.setHover(null);
    expect(store.feature.value).toEqual({ state: "empty" });
    store.setHover(ix("1_7_4"));
    expect(store.feature.value).toMatchObject({ state: "ready", value: { index: 7 } });
    expect(asked()).toHaveLength(1);
  });

  it("of the selection show when nothing is hovered, and others have none", async () => {
    store.select({ node: "2_3_4" });
    await settle();
    expect(store.feature.value).toMatchObject({ state: "ready", value: { index: 3 } });
    store.setHover(ix("E_2_0"));
    expect(store.feature.value).toEqual({ state: "empty" });
    store.setHover(null);
    expect(store.feature.value).toMatchObject({ state: "ready", value: { index: 3 } });
  });

  it("that answer late are not shown for another", async () => {
    let release = () => {};
    server.hold = new Promise((resolve) => {
      release = resolve;
    });
    store.setHover(ix("0_4_1"));
    await settle(200);
    server.hold = null;
    store.setHover(ix("0_9_2"));
    await settle(200);
    expect(store.feature.value).toMatchObject({ state: "ready", value: { index: 9 } });
    release();
    await settle(200);
    expect(store.feature.value).toMatchObject({ state: "ready", value: { index: 9 } });
  });

  it("that are missing say so; a server that is gone can be asked again", async () => {
    store.setHover(ix("2_11_4"));
    await settle();
    expect(store.feature.value).toEqual({ state: "error", message: "The set has no record of this feature." });
    server.down = true;
    store.setHover(ix("0_4_1"));
    await settle();
    const failed = store.feature.value;
    expect(failed).toMatchObject({ state: "error", message: "The server cannot be reached." });
    server.down = false;
    if (failed.state === "error") failed.retry?.();
    await settle();
    expect(store.feature.value).toMatchObject({ state: "ready", value: { index: 4 } });
  });
});

it("asks for scores when pinning has come to rest", async () => {
  await store.open("toy-sky");
  expect(store.scores.value).toEqual({ state: "loading" });
  await settle();
  expect(store.scores.value).toMatchObject({ state: "ready", value: { subgraph: { replacement: 0.05 } } });
  store.togglePin("0_4_1");
  store.togglePin("0_9_2");
  await settle();
  store.setPruning(0.5);
  await settle();
  expect(server.asked.filter((what) => what.startsWith("scores"))).toEqual([
    "scores toy-sky 4_512_4,2_3_4,1_7_2,1_7_4,E_900_2",
    "scores toy-sky 4_512_4,2_3_4,1_7_2,1_7_4,E_900_2,0_4_1,0_9_2",
  ]);
});

it("says the same thing twice so that it is heard twice", () => {
  store.announce("x");
  const first = store.announcement.value;
  store.announce("x");
  expect(store.announcement.value).not.toBe(first);
  expect(store.announcement.value.trim()).toBe("x");
});
