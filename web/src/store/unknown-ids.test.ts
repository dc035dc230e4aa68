// What an address or a file names and the graph has not: said once, kept, and never in the way of the rest. Parameters that mean
// nothing here stay in the address.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { toy } from "../../fixtures/generate";
import { Server } from "../../fixtures/server";
import { readGraph } from "../core/read";
import { createStore, type PageStore } from "./create";

let server: Server;
let store: PageStore;
const make = () =>
  createStore({ api: server, read: (file, slug) => Promise.resolve(readGraph(file, slug)), storage: localStorage });

beforeEach(() => {
  vi.useFakeTimers();
  localStorage.clear();
  server = new Server();
  store = make();
});
afterEach(() => {
  store.stop();
  vi.useRealTimers();
});

const settle = (ms = 1000) => vi.advanceTimersByTimeAsync(ms);
/** The page on an address, as when it is opened there. */
async function openAt(search: string): Promise<void> {
  store.stop();
  history.replaceState(null, "", `/${search}`);
  store = make();
  await store.start();
  await settle();
}
/** The page as after a reload, the state of the browser's history with it. */
async function reload(): Promise<void> {
  store.stop();
  store = make();
  await store.start();
  await settle();
}

describe("ids that no node has", () => {
  it("are said and stay in the address, what is there is shown", async () => {
    await openAt('?slug=toy-sky&pinnedIds=1_7_2,9_9_9&supernodes=[["g","1_7_2","8_8_8"]]&clickedId=Nowhere');
    const problems = [
      "pinnedIds: 9_9_9 is no node of this graph and is not shown.",
      "supernodes, group “g”: 8_8_8 is no node of this graph and is not shown.",
      "clickedId: Nowhere is no node and no group of this graph, so nothing is selected.",
    ];
    expect(store.problems.value).toEqual(problems);
    expect(store.items.value.map(({ label }) => label)).toEqual(["g"]);
    const params = new URLSearchParams(location.search);
    expect(params.get("pinnedIds")).toBe("1_7_2,9_9_9");
    expect(params.get("supernodes")).toBe('[["g","1_7_2","8_8_8"]]');
    await reload();
    expect(store.problems.value).toEqual(problems.slice(0, 2));
    await store.open("toy-sky");
    await settle();
    expect(store.problems.value).toEqual([]);
  });

  it("of the file's own view are said too", async () => {
    const graph = toy();
    server.files.set("toy-sky", { ...graph, qParams: { ...graph.qParams, pinnedIds: "7_7_7,1_7_2" } });
    await openAt("?slug=toy-sky");
    expect(store.problems.value).toEqual(["pinnedIds: 7_7_7 is no node of this graph and is not shown."]);
    expect(store.saveState.value).toBe("clean");
    // The address rules over the file, so nothing of the file's pins is left to say.
    await openAt("?slug=toy-sky&pinnedIds=1_7_2");
    expect(store.problems.value).toEqual([]);
  });

  it("of the older form pin every node that they stand for", async () => {
    const graph = toy();
    const nodes = graph.nodes.map((node) => (node.node_id.startsWith("1_7_") ? { ...node, jsNodeId: "1_7-0" } : node));
    server.files.set("toy-sky", { ...graph, qParams: { pinnedIds: ["1_7-0"] }, nodes });
    await openAt("?slug=toy-sky");
    expect(store.problems.value).toEqual([]);
    expect(store.view.value.pinned).toEqual(["1_7_2", "1_7_4"]);
    expect(store.saveState.value).toBe("clean");
    await openAt('?slug=toy-sky&pinnedIds=1_7_2&supernodes=[["g","1_7-0"]]');
    expect(store.view.value.supernodes[0].members).toEqual(["1_7_2", "1_7_4"]);
  });

  it("of a pasted link are the answer to it", async () => {
    await openAt("?slug=toy-sky");
    expect(store.importLink("?slug=toy-sky&pinnedIds=9_9_9,1_7_2")).toEqual([
      "pinnedIds: 9_9_9 is no node of this graph and is not shown.",
    ]);
    expect(store.view.value.pinned).toEqual(["9_9_9", "1_7_2"]);
  });
});

describe("parameters that mean nothing here", () => {
  it("stay when the address is rewritten, another graph is opened, and on reload", async () => {
    await openAt("?embed&slug=toy-sky&pinnedIds=1_7_2&densityThreshold=0.9&note=a%20%26%20b");
    const others = () => location.search.slice(location.search.indexOf("&embed"));
    expect(others()).toBe("&embed&densityThreshold=0.9&note=a%20%26%20b");
    store.togglePin("2_3_4");
    await settle();
    expect(new URLSearchParams(location.search).get("pinnedIds")).toBe("1_7_2,2_3_4");
    expect(others()).toBe("&embed&densityThreshold=0.9&note=a%20%26%20b");
    await store.open("legacy");
    await settle();
    expect(location.search).toContain("slug=legacy");
    expect(others()).toBe("&embed&densityThreshold=0.9&note=a%20%26%20b");
    await reload();
    store.togglePin("1_7_2");
    await settle();
    expect(others()).toBe("&embed&densityThreshold=0.9&note=a%20%26%20b");
  });
});
