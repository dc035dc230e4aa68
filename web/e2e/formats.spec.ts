// Acceptance list, formats: every kind of file and link opens, and nothing is lost on the way through the page.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { boxLabels, debug, expect, frameOf, opened, parameter, save, selectInTable, test } from "./harness";
import { makeDemoGraph } from "./serve";
import { ROOT } from "./where";

/** A file without what saving may write. */
function withoutView({ qParams: _view, ...rest }: Record<string, unknown>): unknown {
  return rest;
}

test("M1: a file of Python's circuit-tracer opens, and saving changes its view alone", async ({ page, open, server }) => {
  const before = server.read("python-llama-plt-skip");
  await open("python-llama-plt-skip");
  expect(await debug(page, "visibleNodes")).toHaveLength(before.nodes.length);
  await page.getByTestId("save").click();
  await expect.poll(() => JSON.stringify(server.read("python-llama-plt-skip").qParams)).toContain("positions");
  expect(withoutView(server.read("python-llama-plt-skip"))).toEqual(withoutView(before));
});

test("M1: the graph of the demo's prompt opens", async ({ page, open, server }) => {
  const slug = makeDemoGraph(server.folder);
  await open(slug);
  expect(await debug(page, "visibleNodes")).toHaveLength(server.read(slug).nodes.length);
  await expect(page.getByTestId("picker")).toContainText("Dallas");
});

test("M2: typed and stringified views give the same state, and are saved typed", async ({ page, open, server }) => {
  const graph = server.read("toy-sky");
  const texts = {
    pinnedIds: (graph.qParams.pinnedIds as string[]).join(","),
    supernodes: JSON.stringify(graph.qParams.supernodes),
    clickedId: "2_3_4",
    pruningThreshold: "0.63",
    clerps: JSON.stringify([["43", "weather"]]),
    linkType: null,
    sg_pos: null,
  };
  server.write("as-text", { ...graph, metadata: { ...graph.metadata, slug: "as-text" }, qParams: texts });
  await open("as-text");
  await expect(frameOf(page, "n:2_3_4")).toBeVisible();
  expect((await boxLabels(page)).some((label) => label === "sky")).toBe(true);
  await expect(page.getByTestId("pruning")).toHaveValue("0.63");
  await expect(page.getByTestId("selection-head")).toContainText("L2/3");
  await page.getByTestId("save").click();
  await expect.poll(() => Array.isArray(server.read("as-text").qParams.pinnedIds)).toBe(true);
  const { pinnedIds, supernodes, pruningThreshold, clerps, clickedId } = server.read("as-text").qParams;
  expect({ pinnedIds, supernodes, pruningThreshold, clerps, clickedId }).toEqual({
    pinnedIds: graph.qParams.pinnedIds,
    supernodes: graph.qParams.supernodes,
    pruningThreshold: 0.63,
    clerps: [["43", "weather"]],
    clickedId: "2_3_4",
  });
});

test("M3: numbers of the old schema name the right feature", async ({ page, open }) => {
  await open("legacy");
  // 2308855 is layer 23, index 8855; the file selects it and calls it so.
  await expect(page.getByTestId("feature")).toContainText("Feature L23/8855");
  await expect(page.getByTestId("feature-label")).toHaveText("say two");
  await selectInTable(page, "11_15631_1");
  await expect(page.getByTestId("feature")).toContainText("Feature L11/15631");
});

for (const [slug, id, row, text] of [
  ["toy-sky", "4_512_4", "L2", "blue"],
  ["np-lorsa", "2_50_2", "L1", "B"],
  ["legacy", "Lgt_31_2", "L23", 'say "hi" (p='],
] as const) {
  test(`M4: logits of ${slug} stand in a row of their own with their token`, async ({ page, open }) => {
    await open(slug);
    await selectInTable(page, id);
    await expect(page.getByTestId("feature")).toContainText("Logit");
    await expect(page.locator(".lg-logits")).toContainText(text);
    await expect(page.locator(".lg-rows")).toContainText("Logit");
    await page.getByTestId("tab-nodes").click();
    const rows = await page.locator("[role=grid] [data-node] .cell-row").allTextContents();
    expect(rows).toContain(row);
    expect(rows.filter((name) => name === "Logit").length).toBeGreaterThan(0);
  });
}

test("M5: a feature and an error of one id are both there, with a warning", async ({ page, open }) => {
  await open("collisions");
  await page.getByTestId("tab-nodes").click();
  const names = await page.locator("[role=grid] [data-node] .cell-label").allTextContents();
  expect(names.filter((name) => name.startsWith("Err:"))).toHaveLength(2);
  expect(names.filter((name) => name.startsWith("L0/"))).toHaveLength(1);
  await page.getByTestId("status-diagnostics").click();
  await expect(page.getByTestId("diagnostics").locator("li")).not.toHaveCount(0);
});

test("M6: oddities are counted, not fatal", async ({ page, open, complaints }) => {
  await open("odd");
  await expect(page.getByTestId("status-diagnostics")).toBeVisible();
  await page.getByTestId("status-diagnostics").click();
  const list = page.getByTestId("diagnostics");
  await expect(list).toContainText("2");
  expect(await list.locator("li").count()).toBeGreaterThanOrEqual(2);
  // `NaN` is no JSON: the server gives the file as it is, but does not compute with it.
  await expect(page.getByTestId("scores")).toContainText("could not be computed");
  expect(complaints.filter((text) => !text.endsWith("/scores"))).toEqual([]);
  complaints.length = 0;
});

test("M6: unknown keys of a file and of its view survive a save", async ({ page, open, server }) => {
  // `NaN` is no JSON; what a server makes of it when it saves is the server's, so the file without it.
  const text = readFileSync(join(server.folder, "odd.json"), "utf8").replace("NaN", "0.5");
  server.write("odd-2", { ...JSON.parse(text), metadata: { ...JSON.parse(text).metadata, slug: "odd-2" } });
  await open("odd-2");
  await selectInTable(page, "0_1_1");
  await page.keyboard.press("p");
  await save(page);
  const saved = server.read("odd-2");
  expect(saved.top_level_extra).toEqual([1, 2, 3]);
  expect(saved.qParams.somethingNew).toEqual([1, 2]);
  expect(saved.qParams.pinnedIds).toEqual(["1_2_1", "not-there", "0_1_1"]);
});

test("M6: a file that is no graph says so, and the page goes on", async ({ page, open, server, complaints }) => {
  server.write("broken", { metadata: {} });
  await open(null, { slug: "broken" });
  await expect(page.getByTestId("failed")).toBeVisible();
  complaints.length = 0;
  await page.getByTestId("picker").click();
  await page.locator("[data-slug=toy-sky]").click();
  await opened(page, "toy-sky");
});

test("M7: every published link opens with its pins and groups @loads", async ({ page, open, server }) => {
  test.setTimeout(900_000);
  const links = readFileSync(join(ROOT, "web/fixtures/graph_links.txt"), "utf8")
    .split("\n")
    .filter((text) => text.startsWith("http"));
  expect(links.length).toBeGreaterThan(60);
  // A graph with every node that some link names, so that nothing is dropped for not being there.
  const ids = new Set(links.join(" ").match(/\d+_\d+_\d+|E_\d+_\d+/g) ?? []);
  const toy = server.read("toy-sky");
  const made = (id: string) => {
    const [layer, , position] = id.split("_");
    const feature_type = layer === "E" ? "embedding" : "cross layer transcoder";
    return { ...toy.nodes[0], node_id: id, layer, feature_type, ctx_idx: Number(position), feature: null, clerp: id };
  };
  const logit = toy.nodes.find((node) => node.feature_type === "logit");
  const nodes = [...[...ids].map(made), { ...logit, node_id: "logit", ctx_idx: 0 }];
  server.write("links", { ...toy, metadata: { ...toy.metadata, slug: "links" }, nodes, links: [], qParams: {} });
  await open("links");
  const repeats: number[] = [];
  for (const link of links) {
    const asked = new URL(link).searchParams;
    asked.set("slug", "links");
    await page.goto(`${server.address}/?${asked}`);
    await opened(page, "links");
    const pins = (asked.get("pinnedIds") ?? "").split(",").filter(Boolean);
    const kept = (await parameter(page, "pinnedIds"))?.split(",") ?? [];
    expect(kept, link).toEqual([...new Set(pins)]);
    const groups = asked.get("supernodes");
    if (groups === null || groups === "") continue;
    // A link may have a stray sign after its JSON: what is before it still counts.
    const list = JSON.parse(groups.slice(0, groups.lastIndexOf("]") + 1)) as string[][];
    const shown = list.filter(([, ...members]) => members.some((id) => pins.includes(id)));
    const labels = await boxLabels(page);
    for (const [label] of shown) expect(labels, link).toContain(label);
    const names = list.map(([label]) => label);
    if (new Set(names).size < names.length) repeats.push(1);
  }
  expect(repeats.length).toBeGreaterThan(20);
});
