// Acceptance list, the page: choosing a graph, pointing, selecting, filtering, lists and the page of a feature.

import {
  awayFromNodes,
  clickNode,
  debug,
  expect,
  line,
  linesOf,
  opened,
  painted,
  parameter,
  selectInTable,
  spots,
  test,
} from "./harness";

test("M16: the picker lists graphs with set and prompt, shows a new one without restart, and carries no pins over", async ({
  page,
  open,
  server,
}) => {
  await open("toy-sky");
  await page.getByTestId("picker").click();
  const entry = page.locator("[data-slug=toy-sky]");
  await expect(entry).toContainText("The sky is so");
  await expect(entry).toContainText("fixtures/toy-transcoders");
  await expect(page.locator("[data-slug]")).toHaveCount(server.slugs().length);
  await page.keyboard.press("Escape");

  const toy = server.read("toy-sky");
  server.write("made-later", {
    ...toy,
    metadata: { ...toy.metadata, slug: "made-later", prompt: "made later" },
    qParams: { pinnedIds: ["2_11_4"] },
  });
  await page.getByTestId("picker").click();
  await expect(page.locator("[data-slug]")).toHaveCount(server.slugs().length);
  await page.getByRole("combobox", { name: "Search graphs" }).fill("later");
  await expect(page.locator("[data-slug]")).toHaveCount(1);
  await page.keyboard.press("Enter");
  await opened(page, "made-later");
  await expect.poll(() => parameter(page, "slug")).toBe("made-later");
  await expect(page.getByTestId("subgraph-item")).toHaveCount(1);
  await page.goBack();
  await opened(page, "toy-sky");
  await expect(page.getByTestId("subgraph-item")).toHaveCount(4);
});

test("M17: nodes stand by layer and position, tokens and outputs can be read, the count is shown @drawing", async ({
  page,
  open,
}) => {
  await open("toy-sky");
  const at = await spots(page);
  expect([...at.keys()].sort()).toEqual([...(await debug(page, "visibleNodes"))].sort());
  const y = (id: string) => at.get(id)!.y;
  const x = (id: string) => at.get(id)!.x;
  // Bottom to top: tokens, layers, outputs.
  for (const [low, high] of [
    ["E_900_2", "0_9_2"],
    ["0_9_2", "1_7_2"],
    ["1_7_4", "2_3_4"],
    ["2_3_4", "4_512_4"],
  ] as const) {
    expect(y(low), `${low} below ${high}`).toBeGreaterThan(y(high) + 8);
  }
  expect(Math.abs(y("0_4_1") - y("0_9_2"))).toBeLessThan(20);
  // Left to right: positions; the likeliest output at the far right.
  for (const [left, right] of [
    ["E_2_0", "E_101_1"],
    ["0_4_1", "0_9_2"],
    ["1_7_2", "1_7_4"],
    ["4_513_4", "4_512_4"],
  ] as const) {
    expect(x(left), `${left} left of ${right}`).toBeLessThan(x(right) - 8);
  }
  await expect(page.locator(".lg-tokens")).toContainText("sky");
  await expect(page.locator(".lg-logits")).toContainText("blue");
  await expect(page.locator(".lg-logits")).toContainText("clear");
  await expect(page.getByTestId("pruning-nodes")).toHaveText("15 of 15 nodes");
  // Something is painted where the pointer meets a node.
  const { x: px, y: py } = at.get("2_3_4")!;
  const clip = { x: px - 20, y: py - 20, width: 40, height: 40 };
  const before = await page.screenshot({ clip });
  await page.mouse.move(px, py);
  await expect.poll(async () => (await page.screenshot({ clip })).equals(before)).toBe(false);
});

test("M17: glyphs are told in words", async ({ page, open }) => {
  await open("toy-sky");
  await page.getByTestId("link-graph-nodes").focus();
  await selectInTable(page, "1_-1_4");
  await expect(page.locator("#lg-option")).toContainText(", error, layer 1");
});

test("M18: hovering marks the node in lists and subgraph; Shift holds it", async ({ page, open }) => {
  await open("toy-sky");
  await selectInTable(page, "2_3_4");
  const at = await spots(page);
  const { x, y } = at.get("1_7_2")!;
  await page.mouse.move(x + 6, y + 4);
  await expect.poll(() => debug(page, "hover")).toBe("1_7_2");
  await expect(line(page, "Input features", "1_7_2")).toHaveClass(/is-hovered/);
  await expect(page.locator('.sg-ring[data-node="1_7_2"]')).toHaveClass(/sg-hovered/);
  await expect(page.getByTestId("tooltip")).toBeVisible();
  await page.keyboard.down("Shift");
  await page.mouse.move(1200, 800);
  expect(await debug(page, "hover")).toBe("1_7_2");
  await page.keyboard.up("Shift");
  // The other way: a line of a list lights up the node.
  await line(page, "Input features", "1_7_4").hover();
  await expect.poll(() => debug(page, "hover")).toBe("1_7_4");
  await expect(line(page, "Input features", "1_7_2")).not.toHaveClass(/is-hovered/);
  await awayFromNodes(page);
});

test("M19: a click draws exactly the node's links; a second click or Esc clears @drawing", async ({ page, open, server }) => {
  await open("toy-sky");
  const { links } = server.read("toy-sky");
  const own = links.filter(({ source, target }) => source === "1_7_4" || target === "1_7_4");
  const key = ({ source, target, weight }: (typeof links)[number]) => `${source} ${target} ${weight}`;
  await clickNode(page, "1_7_4");
  expect((await debug(page, "drawnLinks")).map(key).sort()).toEqual(own.map(key).sort());
  await clickNode(page, "1_7_4");
  await expect(page.getByTestId("selection-head")).toHaveCount(0);
  await clickNode(page, "1_7_4");
  await expect(page.getByTestId("selection-head")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByTestId("selection-head")).toHaveCount(0);
});

test("M20: Ctrl and click, a key and a button pin; the address follows and a reload restores", async ({ page, open }) => {
  await open("toy-sky");
  await clickNode(page, "2_11_4", ["Control"]);
  await expect.poll(() => parameter(page, "pinnedIds")).toContain("2_11_4");
  await selectInTable(page, "0_4_1");
  await page.getByTestId("selection-head").getByRole("button", { name: "Pin" }).click();
  await expect.poll(() => parameter(page, "pinnedIds")).toContain("0_4_1");
  await page.keyboard.press("p");
  await expect.poll(() => parameter(page, "pinnedIds")).not.toContain("0_4_1");
  const pinned = await parameter(page, "pinnedIds");
  await page.reload();
  await opened(page, "toy-sky");
  expect(await parameter(page, "pinnedIds")).toBe(pinned);
  await expect(page.getByTestId("subgraph-item")).toHaveCount(5);
});

test("M21: link types filter the links of pinned nodes @drawing", async ({ page, open, server }) => {
  await open("toy-sky");
  const { links, qParams } = server.read("toy-sky");
  const pinned = new Set(qParams.pinnedIds as string[]);
  const wanted = {
    Input: links.filter(({ target }) => pinned.has(target)),
    Output: links.filter(({ source }) => pinned.has(source)),
    Either: links.filter(({ source, target }) => pinned.has(source) || pinned.has(target)),
    Both: links.filter(({ source, target }) => pinned.has(source) && pinned.has(target)),
  };
  for (const [name, list] of Object.entries(wanted)) {
    await page.getByRole("radio", { name, exact: true }).check({ force: true });
    const drawn = (await debug(page, "drawnLinks")).map(({ source, target }) => `${source} ${target}`);
    expect(drawn.sort(), name).toEqual(list.map(({ source, target }) => `${source} ${target}`).sort());
  }
});

test("M22: the slider hides exactly what lies above the threshold, also on first load", async ({ page, open, server }) => {
  const { nodes, qParams } = server.read("toy-sky");
  const wanted = (threshold: number, kept: string[]) =>
    nodes
      .filter(
        (node) =>
          node.feature_type === "embedding" ||
          node.feature_type === "logit" ||
          kept.includes(node.node_id) ||
          ((node.influence as number | null) ?? 0) <= threshold,
      )
      .map((node) => node.node_id)
      .sort();
  const pinned = qParams.pinnedIds as string[];
  await open("toy-sky");
  const slider = page.getByTestId("pruning");
  await slider.fill("0.2");
  expect([...(await debug(page, "visibleNodes"))].sort()).toEqual(wanted(0.2, pinned));
  await expect(slider).toHaveAttribute("aria-valuetext", `keep 20 % of influence, ${wanted(0.2, pinned).length} of 15 nodes`);
  await expect.poll(() => parameter(page, "pruningThreshold")).toBe("0.2");
  await page.goto(`${server.address}/?slug=toy-sky&pruningThreshold=0.1&pinnedIds=2_11_4&clickedId=0_4_1`);
  await opened(page, "toy-sky");
  expect([...(await debug(page, "visibleNodes"))].sort()).toEqual(wanted(0.1, ["2_11_4", "0_4_1"]));
});

test("M23: connections have weights, shares, order, arrows and layers, and a line goes there", async ({ page, open }) => {
  await open("toy-sky");
  await selectInTable(page, "2_3_4");
  expect(await linesOf(page, "Input features")).toEqual(["1_7_2", "1_7_4", "E_900_2", "1_-1_4"]);
  expect(await linesOf(page, "Output features")).toEqual(["4_512_4", "4_513_4"]);
  const first = line(page, "Input features", "1_7_2");
  // 3 of 3 + 1.5 + 0.75 + 0.5; from an earlier token.
  await expect(first.locator(".line-weight")).toHaveText("+3.000");
  await expect(first.locator(".line-number").last()).toHaveText("52.2 %");
  await expect(first.locator(".line-arrow")).toContainText("←");
  await expect(first.locator(".line-row")).toHaveText("L1");
  await expect(line(page, "Input features", "1_-1_4").locator(".line-number").last()).toHaveText("−13.0 %");
  // Of an output, the share is one of that node's inputs: 1.9 of 1.9 + 0.3 + 0.4 + 0.7.
  await expect(line(page, "Output features", "4_512_4").locator(".line-number").last()).toHaveText("57.6 %");
  await page
    .getByTestId("inputs")
    .getByRole("button", { name: /weight/ })
    .click();
  expect(await linesOf(page, "Input features")).toEqual(["1_7_2", "1_7_4", "E_900_2", "1_-1_4"]);
  await page
    .getByTestId("inputs")
    .getByRole("button", { name: /weight/ })
    .click();
  expect(await linesOf(page, "Input features")).toEqual(["1_-1_4", "E_900_2", "1_7_4", "1_7_2"]);
  await first.click();
  await expect(page.getByTestId("selection-head")).toContainText("F#00000043");
});

test("M24: the page of a feature has its numbers, marker, predictions and centred examples", async ({ page, open }) => {
  await open("toy-sky");
  await selectInTable(page, "1_7_2");
  const feature = page.getByTestId("feature");
  await expect(feature).toContainText("Feature L1/7");
  // quantile k is ((k + 1) / 100)² · 5: the first not below 3.25 is the 81st.
  await expect(page.getByTestId("activation")).toHaveText("3.25 (81st percentile)");
  await expect(page.getByTestId("frequency")).toHaveText(/^0\.\d{3} %$/);
  // 3.25 of 0 … 5 in twenty bars.
  await expect(page.getByTestId("histogram-current")).toHaveAttribute("data-bar", "13");
  await expect(feature.getByText("azure", { exact: true })).toBeVisible();
  await expect(page.getByTestId("automatic-label")).toContainText("on sky, blue; promotes azure");
  await expect(page.getByTestId("examples")).toContainText("—");
  const frame = (await page.getByTestId("examples").boundingBox())!;
  for (const token of await page.getByTestId("train-token").all()) {
    const at = (await token.boundingBox())!;
    expect(Math.abs(at.x + at.width / 2 - (frame.x + frame.width / 2))).toBeLessThan(4);
  }
});

test("M24: a feature without a record says so", async ({ page, open }) => {
  await open("toy-sky");
  await selectInTable(page, "0_4_1");
  await expect(page.getByTestId("feature-none")).toBeVisible();
});

test("M24: loading, an error with retry, and never the page of another feature", async ({ page, open, complaints }) => {
  let fail = true;
  const waiting: (() => Promise<void>)[] = [];
  const ended: string[] = [];
  for (const event of ["requestfinished", "requestfailed"] as const) {
    page.on(event as "requestfinished", (request) => {
      if (request.url().includes("/features/1/7")) ended.push(request.url());
    });
  }
  await page.route("**/api/v1/features/**", async (route) => {
    if (route.request().url().includes("/features/1/7")) waiting.push(() => route.continue());
    else if (fail) await route.abort();
    else await route.continue();
  });
  await open("toy-sky");
  await selectInTable(page, "1_7_2");
  await expect(page.getByTestId("feature-loading")).toBeVisible();
  await selectInTable(page, "2_3_4");
  await expect(page.getByTestId("feature-error")).toBeVisible();
  complaints.length = 0;
  fail = false;
  await page.getByTestId("feature-error").getByRole("button", { name: "Try again" }).click();
  await expect(page.getByTestId("examples")).toBeVisible();
  // The answer that was asked for first comes last, and is not shown.
  for (const answer of waiting) await answer().catch(() => {});
  await expect.poll(() => ended.length).toBe(waiting.length);
  await painted(page);
  await expect(page.getByTestId("feature")).toContainText("Feature L2/3");
  await expect(page.getByTestId("feature")).toHaveAttribute("data-node", "2_3_4");
});

test("S1: search finds by label, token, layer, type and activation, and marks what it found", async ({ page, open }) => {
  await open("toy-sky");
  await page.getByTestId("tab-nodes").click();
  const shown = async () =>
    page
      .locator("[role=grid] [data-node]")
      .evaluateAll((lines) => lines.map((one) => (one as HTMLElement).dataset.node!).sort());
  for (const [text, ids] of [
    ["blue", ["4_512_4"]],
    ["type:error", ["1_-1_4", "2_-1_4"]],
    ["layer:0 token:sky", ["0_9_2"]],
    ["act:>3", ["1_7_2", "2_3_4"]],
    ["is:pinned type:logit", ["4_512_4"]],
  ] as const) {
    await page.getByTestId("search").fill(text);
    await expect(page.getByTestId("search-count"), text).toHaveText(`${ids.length} found`);
    expect(await shown(), text).toEqual([...ids].sort());
  }
  await page.getByTestId("search").press("Enter");
  await expect(page.locator("[role=grid] .is-selected")).toHaveCount(1);
  await page.getByTestId("search").press("Escape");
  await expect(page.getByTestId("all-nodes-count")).toHaveText("15 of 15");
});
