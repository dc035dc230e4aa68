// What stays the same however the page is looked at: themes, palettes, small windows, zoom, wide prompts, drawing with and without
// WebGL, scores.

import { debug, expect, opened, painted, selectInTable, spots, test } from "./harness";

test("S2: all links can be shown, whatever draws them @drawing", async ({ page, open }, info) => {
  await open("python-llama-plt-skip");
  const graph = page.getByTestId("link-graph");
  const before = await graph.screenshot();
  await page.getByRole("checkbox", { name: "All links" }).check();
  await expect.poll(async () => (await graph.screenshot()).equals(before)).toBe(false);
  // A canvas that has a context of one kind gives no other.
  const drawnBy = await page.getByTestId("all-links").evaluate((canvas) => {
    return (canvas as HTMLCanvasElement).getContext("2d") === null ? "webgl" : "no-webgl";
  });
  expect(drawnBy).toBe(info.project.name);
});

test.describe("a browser whose WebGL is computed by software", () => {
  // The only project with such a browser tells the page that it is fast, so a page of its own is opened here.
  test("S2: all links are drawn in slices of a canvas, and the page goes on meanwhile", async ({ browser, server }, info) => {
    test.skip(info.project.name !== "webgl", "the other project has no WebGL at all");
    const page = await browser.newPage();
    await page.goto(`${server.address}/?slug=python-llama-plt-skip`);
    await opened(page, "python-llama-plt-skip");
    expect(await page.evaluate(() => document.createElement("canvas").getContext("webgl2") !== null)).toBe(true);
    await page.getByRole("checkbox", { name: "All links" }).check();
    const canvas = page.getByTestId("all-links");
    await expect(canvas).toBeAttached();
    expect(await canvas.evaluate((one) => (one as HTMLCanvasElement).getContext("2d") !== null)).toBe(true);
    await page.close();
  });
});

test("S2: zoom and scrolling move the graph, and pointing follows @drawing", async ({ page, open }) => {
  await open("toy-sky");
  const before = (await spots(page)).get("2_3_4")!;
  await page.getByRole("button", { name: "Zoom in" }).click();
  await page.getByRole("button", { name: "Zoom in" }).click();
  const graph = page.getByTestId("link-graph");
  await expect.poll(() => graph.evaluate((window) => window.scrollWidth > window.clientWidth)).toBe(true);
  await page.getByTestId("link-graph-nodes").press("0");
  await expect.poll(() => graph.evaluate((window) => window.scrollWidth > window.clientWidth)).toBe(false);
  await painted(page);
  const after = (await spots(page)).get("2_3_4")!;
  expect(Math.abs(after.x - before.x)).toBeLessThan(2);
});

test("S2: a prompt of 120 tokens scrolls", async ({ page, open, server }) => {
  const toy = server.read("toy-sky");
  const tokens = Array.from({ length: 120 }, (_, i) => ` w${i}`);
  const embedding = toy.nodes.find((node) => node.feature_type === "embedding")!;
  const nodes = tokens.map((_, i) => ({ ...embedding, node_id: `E_7_${i}`, ctx_idx: i, feature: i }));
  server.write("wide", {
    ...toy,
    metadata: { ...toy.metadata, slug: "wide", prompt_tokens: tokens },
    nodes,
    links: [],
    qParams: {},
  });
  await open("wide");
  const window = page.getByTestId("link-graph");
  await expect.poll(() => window.evaluate((element) => element.scrollWidth > element.clientWidth)).toBe(true);
  await selectInTable(page, "E_7_119");
  await expect.poll(() => window.evaluate((element) => element.scrollLeft)).toBeGreaterThan(0);
});

test("S3: scores of the graph and of what is pinned", async ({ page, open, server }) => {
  await open("python-llama-plt-skip");
  const asked = async (pinned: string[]) =>
    (await page.request.post(`${server.address}/api/v1/graphs/python-llama-plt-skip/scores`, { data: { pinned } })).json();
  const none = await asked([]);
  await expect(page.getByTestId("graph-replacement")).toHaveText(none.graph.replacement.toFixed(4));
  await expect(page.getByTestId("graph-completeness")).toHaveText(none.graph.completeness.toFixed(4));
  await expect(page.getByTestId("subgraph-replacement")).toHaveText("N/A");
  const [feature] = (await debug(page, "visibleNodes")).filter((id) => /^\d+_\d+_\d+$/.test(id));
  await selectInTable(page, feature!);
  await page.keyboard.press("p");
  const one = await asked([feature!]);
  await expect(page.getByTestId("subgraph-replacement")).toHaveText(one.subgraph.replacement.toFixed(4));
});

test("S14: theme and palette are chosen and remembered", async ({ page, open }) => {
  await open("toy-sky");
  const root = page.locator("html");
  await expect(root).toHaveAttribute("data-theme", "light");
  await page.getByTestId("more").click();
  await page.getByRole("menuitemradio", { name: "Dark" }).click();
  await expect(root).toHaveAttribute("data-theme", "dark");
  await page.reload();
  await opened(page, "toy-sky");
  await expect(root).toHaveAttribute("data-theme", "dark");
});

test.describe("dark by preference", () => {
  test.use({ colorScheme: "dark" });
  test("S14: the system's preference holds until another is chosen", async ({ page, open }) => {
    await open("toy-sky");
    await expect(page.locator("html")).toHaveAttribute("data-theme", "dark");
  });
});

for (const [name, viewport] of [
  ["a small window", { width: 1024, height: 700 }],
  ["200 % zoom of a common screen", { width: 720, height: 450 }],
  ["400 % zoom", { width: 360, height: 225 }],
] as const) {
  test.describe(name, () => {
    test.use({ viewport });
    test("nothing is cut off sideways, and every panel can be reached", async ({ page, open }) => {
      await open("toy-sky");
      await expect.poll(() => page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth)).toBe(true);
      for (const id of ["link-graph", "subgraph", "lists", "feature"]) {
        await page.locator(`#${id}`).scrollIntoViewIfNeeded();
        const size = (await page.locator(`#${id}`).boundingBox())!;
        expect(size.width, id).toBeGreaterThan(200);
        expect(size.height, id).toBeGreaterThan(150);
      }
      await page.getByTestId("save").scrollIntoViewIfNeeded();
      await expect(page.getByTestId("save")).toBeInViewport({ ratio: 1 });
    });
  });
}

test("splitters move by key and pointer, and are remembered", async ({ page, open }) => {
  await open("toy-sky");
  const left = page.locator("#link-graph");
  const width = async () => (await left.boundingBox())!.width;
  const before = await width();
  const splitter = page.getByRole("separator", { name: "Width of the graphs" });
  await splitter.focus();
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  await expect.poll(width).toBeLessThan(before - 30);
  const grip = (await splitter.boundingBox())!;
  await page.mouse.move(grip.x + grip.width / 2, grip.y + 300);
  await page.mouse.down();
  await page.mouse.move(600, grip.y + 300, { steps: 4 });
  await page.mouse.up();
  await expect.poll(async () => Math.abs((await width()) - 590)).toBeLessThan(20);
  const dragged = await width();
  await page.reload();
  await opened(page, "toy-sky");
  await expect.poll(async () => Math.abs((await width()) - dragged)).toBeLessThan(3);
});
