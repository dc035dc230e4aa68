// Acceptance list, the page: labels, groups, the subgraph, saving, undo, sharing, files.

import { readFileSync } from "node:fs";
import type { Page } from "@playwright/test";
import {
  box,
  boxLabels,
  clickGroup,
  clickNode,
  expect,
  frameOf,
  line,
  opened,
  parameter,
  save,
  selectInTable,
  settled,
  test,
} from "./harness";

async function label(page: Page, text: string): Promise<void> {
  await page.getByTestId("feature").getByRole("button", { name: "Edit label" }).click();
  await page.getByRole("textbox", { name: "Label" }).fill(text);
  await page.keyboard.press("Enter");
}

test("M25: a label shows everywhere at once, survives reload, is saved and can be removed", async ({ page, open, server }) => {
  await open("toy-sky");
  await selectInTable(page, "2_3_4");
  await label(page, "colour words");
  await expect(page.getByTestId("selection-head")).toContainText("colour words");
  await expect(box(page, "n:2_3_4")).toContainText("colour words");
  await page.getByTestId("tab-nodes").click();
  await expect(page.locator('[role=grid] [data-node="2_3_4"]')).toContainText("colour words");
  await page.getByTestId("tab-connections").click();
  await expect.poll(() => parameter(page, "clerps")).toContain("colour words");
  await page.reload();
  await opened(page, "toy-sky");
  await expect(box(page, "n:2_3_4")).toContainText("colour words");
  await save(page);
  // Cantor number of layer 2, index 3: a bare number, so that the label holds at every position.
  expect(server.read("toy-sky").qParams.clerps).toEqual([["18", "colour words"]]);
  await selectInTable(page, "2_3_4");
  await label(page, "");
  await expect(box(page, "n:2_3_4")).not.toContainText("colour words");
});

test("M25: labels of a link are shown and stay in the address", async ({ page, open }) => {
  await open("toy-sky", { clerps: JSON.stringify([["43", "from a link"]]) });
  await selectInTable(page, "1_7_2");
  await expect(page.getByTestId("feature-label")).toHaveText("from a link");
  expect(await parameter(page, "clerps")).toContain("from a link");
});

test("M25: a label holds for the same feature in another graph of the set", async ({ page, open, server }) => {
  const toy = server.read("toy-sky");
  server.write("sister", { ...toy, metadata: { ...toy.metadata, slug: "sister" } });
  await open("toy-sky");
  await selectInTable(page, "2_3_4");
  await label(page, "kept by the browser");
  await page.getByTestId("picker").click();
  await page.locator("[data-slug=sister]").click();
  await opened(page, "sister");
  await expect(box(page, "n:2_3_4")).toContainText("kept by the browser");
});

test("M26: G held groups, typing g does not, leaving the window ends the mode", async ({ page, open }) => {
  await open("toy-sky");
  await page.getByTestId("search").fill("");
  await page.getByTestId("search").press("g");
  await expect(page.getByTestId("search")).toHaveValue("g");
  await page.getByTestId("search").press("Escape");

  await page.keyboard.down("g");
  await box(page, "n:2_3_4").locator(".sg-press").click();
  await box(page, "n:4_512_4").locator(".sg-press").click();
  await page.keyboard.up("g");
  await expect(page.getByTestId("subgraph-item")).toHaveCount(3);
  expect((await boxLabels(page)).length).toBe(3);

  await page.keyboard.down("g");
  await box(page, "n:E_900_2").locator(".sg-press").click();
  await page.evaluate(() => window.dispatchEvent(new Event("blur")));
  await page.keyboard.up("g");
  await expect(page.getByTestId("subgraph-item")).toHaveCount(3);
});

test("M26: grouping by button, merging keeps the label, renaming and ungrouping", async ({ page, open }) => {
  await open("toy-sky");
  await page
    .getByRole("button", { name: /^Group/ })
    .first()
    .click();
  await clickGroup(page);
  await box(page, "n:2_3_4").locator(".sg-press").click();
  await page
    .getByRole("button", { name: /Group 2|Save group|Done/ })
    .first()
    .click();
  const group = page.locator("[data-testid=subgraph-item]:has(.sg-group)");
  await expect(group).toHaveCount(1);
  await expect(group.locator(".sg-label")).toHaveText("sky");
  await expect(group.locator(".sg-ring")).toHaveCount(3);
  await group.locator(".sg-label").click();
  await page.getByRole("textbox", { name: "Label" }).fill("all of it");
  await page.keyboard.press("Enter");
  await expect(group.locator(".sg-label")).toHaveText("all of it");
  await expect.poll(() => parameter(page, "supernodes")).toContain("all of it");
  await page.getByTestId("picker").focus();
  await page.keyboard.press("Control+z");
  await expect(group.locator(".sg-label")).toHaveText("sky");
  await group.locator(".sg-box").hover();
  await page.getByRole("button", { name: "Ungroup sky" }).click();
  await expect(group).toHaveCount(0);
  await expect(page.getByTestId("subgraph-item")).toHaveCount(5);
});

test("M27: what is dragged stays through later pins, a save and a reload", async ({ page, open, server }) => {
  await open("toy-sky");
  const item = frameOf(page, "n:2_3_4");
  await item.waitFor();
  await settled(page);
  const before = (await item.boundingBox())!;
  const [x, y] = [before.x + before.width / 2, before.y + 8];
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x + 60, y + 25, { steps: 6 });
  await page.mouse.up();
  await settled(page);
  const dropped = (await item.boundingBox())!;
  expect(dropped.x - before.x).toBeGreaterThan(40);
  await selectInTable(page, "2_11_4");
  await page.keyboard.press("p");
  await expect(frameOf(page, "n:2_11_4")).toBeVisible();
  await settled(page);
  const later = (await item.boundingBox())!;
  expect(Math.abs(later.x - dropped.x)).toBeLessThan(2);
  expect(Math.abs(later.y - dropped.y)).toBeLessThan(2);
  await save(page);
  expect(Object.keys(server.read("toy-sky").qParams.positions as object)).toContain("n:2_3_4");
  await page.goto(`${server.address}/?slug=toy-sky`);
  await opened(page, "toy-sky");
  await settled(page);
  const again = (await item.boundingBox())!;
  expect(Math.abs(again.x - dropped.x)).toBeLessThan(3);
  expect(Math.abs(again.y - dropped.y)).toBeLessThan(3);
});

test("M27: sg_pos of older files is honoured", async ({ page, open, server }) => {
  const toy = server.read("toy-sky");
  // Two boxes; the order of pairs is by their sorted digits: 513 before 18.
  const qParams = { pinnedIds: ["2_3_4", "4_513_4"], sg_pos: "100 100 900 800" };
  server.write("placed", { ...toy, metadata: { ...toy.metadata, slug: "placed" }, qParams });
  await open("placed");
  await settled(page);
  const places = await Promise.all(["n:2_3_4", "n:4_513_4"].map(async (key) => (await frameOf(page, key).boundingBox())!));
  const [left, right] = places.toSorted((a, b) => a.x - b.x);
  expect(right!.x - left!.x).toBeGreaterThan(300);
  expect(right!.y - left!.y).toBeGreaterThan(80);
});

test("M28: everything of a view comes back from the file alone", async ({ page, open, server }) => {
  await open("toy-sky");
  await selectInTable(page, "2_11_4");
  await page.keyboard.press("p");
  await label(page, "clear words");
  await page.getByTestId("pruning").fill("0.7");
  await page.getByRole("radio", { name: "Either" }).check({ force: true });
  await selectInTable(page, "1_7_2");
  await save(page);
  const { qParams } = server.read("toy-sky");
  expect(qParams).toMatchObject({
    pinnedIds: ["4_512_4", "2_3_4", "1_7_2", "1_7_4", "E_900_2", "2_11_4"],
    supernodes: [["sky", "1_7_2", "1_7_4"]],
    linkType: "either",
    clickedId: "1_7_2",
    pruningThreshold: 0.7,
  });
  // A browser that knows nothing of it.
  await page.evaluate(() => localStorage.clear());
  await page.goto("about:blank");
  await page.goto(`${server.address}/?slug=toy-sky`);
  await opened(page, "toy-sky");
  await expect(page.getByTestId("selection-head")).toContainText("F#00000043");
  await expect(box(page, "n:2_11_4")).toContainText("clear words");
  await expect(page.getByTestId("pruning")).toHaveValue("0.7");
  await expect(page.getByRole("radio", { name: "Either" })).toBeChecked();
  expect(await boxLabels(page)).toContain("sky");
  await expect(page.getByTestId("save")).toHaveAttribute("data-state", "clean");
});

test("S5: a supernode can be selected and has summed lists", async ({ page, open }) => {
  await open("toy-sky");
  await clickGroup(page);
  await expect(page.getByTestId("selection-head")).toContainText("2 members");
  // 3 + 1.5 from the two members.
  await expect(line(page, "Output features", "2_3_4").locator(".line-weight")).toHaveText("+4.500");
});

test("S6: undo and redo step through what was done; a file changed elsewhere is asked about", async ({
  page,
  open,
  server,
  complaints,
}) => {
  await open("toy-sky");
  await clickNode(page, "2_11_4", ["Control"]);
  await expect(page.getByTestId("subgraph-item")).toHaveCount(5);
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(page.getByTestId("subgraph-item")).toHaveCount(4);
  await page.keyboard.press("Control+y");
  await expect(page.getByTestId("subgraph-item")).toHaveCount(5);

  const elsewhere = () => {
    const toy = server.read("toy-sky");
    server.write("toy-sky", { ...toy, qParams: { ...toy.qParams, pinnedIds: ["0_4_1"] } });
  };
  elsewhere();
  await page.getByTestId("save").click();
  const dialog = page.getByRole("dialog", { name: "The file has changed" });
  await expect(dialog).toBeVisible();
  complaints.length = 0;
  await dialog.getByRole("button", { name: "Keep editing" }).click();
  await expect(page.getByTestId("subgraph-item")).toHaveCount(5);
  await page.getByTestId("save").click();
  await dialog.getByRole("button", { name: "Overwrite" }).click();
  await expect.poll(() => (server.read("toy-sky").qParams.pinnedIds as string[]).length).toBe(6);

  elsewhere();
  await clickNode(page, "2_11_4", ["Control"]);
  await page.getByTestId("save").click();
  await dialog.getByRole("button", { name: "Reload" }).click();
  await expect(page.getByTestId("subgraph-item")).toHaveCount(1);
  complaints.length = 0;
});

test("S7: links of both forms, and pasting one of either page", async ({ page, open, context, server }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await open("toy-sky");
  await page.getByRole("button", { name: "Share" }).click();
  const dialog = page.getByRole("dialog", { name: "Share this view" });
  await dialog.getByRole("button", { name: /Copy: Link of circuit-tracer/ }).click();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  expect(copied.startsWith(`${server.address}/`)).toBe(true);
  expect(new URL(copied).searchParams.get("pinnedIds")).toContain("E_900_2");
  const other = await dialog.getByRole("textbox", { name: /Neuronpedia/ }).inputValue();
  expect(new URL(other).pathname).toMatch(/\/graph$/);
  await page.keyboard.press("Escape");
  await expect(page.getByRole("button", { name: "Share" })).toBeFocused();

  await page.getByTestId("more").click();
  await page.getByRole("menuitem", { name: "Open a link…" }).click();
  const paste = page.getByRole("dialog", { name: "Open a link" });
  await paste.getByRole("textbox").fill("https://www.neuronpedia.org/gemma-2-2b/graph?slug=toy-sky&pinnedIds=2_11_4%2C4_513_4");
  await paste.getByRole("button", { name: "Open", exact: true }).click();
  await expect(page.getByTestId("subgraph-item")).toHaveCount(2);
});

test("S8: description, download, upload with reasons, rename, delete", async ({ page, open, server, complaints }) => {
  await open("toy-sky");
  const menu = async (name: string) => {
    await page.getByTestId("more").click();
    await page.getByRole("menuitem", { name }).click();
  };
  await menu("About this graph…");
  await expect(page.getByRole("dialog", { name: "About this graph" })).toContainText("fixtures/toy-transcoders");
  await page.keyboard.press("Escape");

  await selectInTable(page, "2_3_4");
  await label(page, "in the download");
  const [download] = await Promise.all([page.waitForEvent("download"), menu("Download graph with labels")]);
  const text = readFileSync((await download.path())!, "utf8");
  expect(download.suggestedFilename()).toBe("toy-sky.json");
  expect(JSON.parse(text).qParams.clerps).toEqual([["18", "in the download"]]);

  await menu("Add a graph file…");
  const broken = { ...JSON.parse(text), nodes: [{ ...JSON.parse(text).nodes[0], node_id: 7 }] };
  const file = (content: unknown) => ({
    name: "new.json",
    mimeType: "application/json",
    buffer: Buffer.from(JSON.stringify(content)),
  });
  await page.getByLabel(/A \.json file/).setInputFiles(file(broken));
  await expect(page.getByTestId("upload-problems")).toContainText("/nodes/0/node_id");
  complaints.length = 0;
  await page
    .getByLabel(/A \.json file/)
    .setInputFiles(file({ ...JSON.parse(text), metadata: { ...JSON.parse(text).metadata, slug: "added" } }));
  await opened(page, "added");

  await menu("Rename…");
  await page.getByRole("textbox", { name: "New name" }).fill("renamed");
  await page.getByRole("button", { name: "Rename" }).click();
  await expect.poll(() => parameter(page, "slug")).toBe("renamed");
  expect(server.read("renamed").metadata.slug).toBe("renamed");

  await menu("Delete…");
  await page.getByRole("button", { name: "Cancel" }).click();
  server.read("renamed");
  await menu("Delete…");
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await expect.poll(() => parameter(page, "slug")).not.toBe("renamed");
  expect(() => server.read("renamed")).toThrow();
});

test("S9: tables as CSV, the subgraph as SVG and PNG", async ({ page, open }) => {
  await open("toy-sky");
  await selectInTable(page, "2_3_4");
  const taken = async (act: () => Promise<void>) => {
    const [download] = await Promise.all([page.waitForEvent("download"), act()]);
    return { name: download.suggestedFilename(), bytes: readFileSync((await download.path())!) };
  };
  const lists = await taken(() => page.getByTestId("selection-head").getByRole("button", { name: "CSV" }).click());
  expect(lists.name).toBe("toy-sky-connections.csv");
  expect(lists.bytes.toString().split("\r\n")).toHaveLength(1 + 6 + 1);
  await page.getByTestId("tab-nodes").click();
  const nodes = await taken(() => page.getByTestId("all-nodes").getByRole("button", { name: "CSV" }).click());
  expect(nodes.bytes.toString().split("\r\n")).toHaveLength(1 + 15 + 1);
  const svg = await taken(() => page.getByRole("button", { name: "SVG" }).click());
  expect(svg.bytes.toString()).toContain("<svg");
  expect(svg.bytes.toString()).toContain("sky");
  const png = await taken(() => page.getByRole("button", { name: "PNG" }).click());
  expect(png.bytes.subarray(1, 4).toString()).toBe("PNG");
});
