// Acceptance list: nothing from elsewhere is loaded or run, everything goes by keyboard, and readers are served.

import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { clickNode, debug, expect, frameOf, opened, parameter, selectInTable, test } from "./harness";

test("M15: nothing outside the server is asked for", async ({ page, open, server }) => {
  const asked: string[] = [];
  page.on("request", (request) => asked.push(request.url()));
  await open("toy-sky");
  await selectInTable(page, "1_7_2");
  await expect(page.getByTestId("examples")).toBeVisible();
  const foreign = asked.filter((url) => !url.startsWith(`${server.address}/`) && !/^(blob|data):/.test(url));
  expect(foreign).toEqual([]);
  expect(asked.length).toBeGreaterThan(4);
});

test("M29: markup in prompts, tokens and labels is text", async ({ page, open }) => {
  await open("hostile");
  for (const id of ["0_1_0", "0_2_3", "1_3_5", "3_7_5"]) await selectInTable(page, id);
  await page.getByTestId("tab-nodes").click();
  await page.getByTestId("picker").click();
  await expect(page.locator("[data-slug=hostile]")).toContainText("<script>");
  await page.keyboard.press("Escape");
  await page.getByTestId("more").click();
  await page.getByRole("menuitem", { name: "About this graph…" }).click();
  expect(await page.evaluate(() => (window as { __hurt?: number }).__hurt)).toBeUndefined();
  expect(await page.locator("#page img, #page script").count()).toBe(0);
  expect(await page.title()).toContain("<script>");
});

test("M29: the policy names no other host, and forbids what is injected", async ({ page, open, server, complaints }) => {
  const response = await page.request.get(`${server.address}/`);
  const policy = response.headers()["content-security-policy"] ?? "";
  expect(policy).toContain("default-src 'self'");
  expect(policy.match(/https?:\/\/(?!localhost|127\.0\.0\.1)[^\s;]+/g)).toBeNull();
  expect(policy).not.toContain("unsafe-eval");
  await open("toy-sky");
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.__hurt = 1";
    document.body.append(script);
  });
  expect(await page.evaluate(() => (window as { __hurt?: number }).__hurt)).toBeUndefined();
  // The refusal is on the console, as it should be.
  expect(complaints.length).toBeGreaterThan(0);
  complaints.length = 0;
});

test("M31: by keyboard alone: choose a graph, select, pin, group, rename, save", async ({ page, open, server }) => {
  await open("one-token");
  const press = (key: string) => page.keyboard.press(key);
  const focusIs = (where: string) => page.evaluate((selector) => document.activeElement?.matches(selector) ?? false, where);
  const tabTo = async (where: string) => {
    for (let i = 0; i < 80; i++) {
      if (await focusIs(where)) return;
      await press("Tab");
    }
    throw new Error(`Tab never reaches ${where}`);
  };
  await tabTo("[data-testid=picker]");
  await press("Enter");
  await page.keyboard.type("toy-sky");
  await expect(page.locator("[data-slug]")).toHaveCount(1);
  await press("Enter");
  await opened(page, "toy-sky");

  await tabTo("[data-testid=link-graph-nodes]");
  await press("ArrowDown");
  for (let i = 0; i < 30 && (await debug(page, "hover")) !== "2_11_4"; i++)
    await press(i % 2 === 0 ? "ArrowLeft" : "ArrowDown");
  const at = await debug(page, "hover");
  expect(at).not.toBeNull();
  await press("Enter");
  await expect(page.getByTestId("selection-head")).toBeVisible();
  const before = (await parameter(page, "pinnedIds")) ?? "";
  await press("p");
  await expect.poll(() => parameter(page, "pinnedIds")).not.toBe(before);

  // Two boxes of the subgraph into one.
  await tabTo(".sg-press");
  await page.keyboard.down("g");
  await press("Enter");
  await press("ArrowDown");
  await press("Enter");
  await page.keyboard.up("g");
  await expect.poll(async () => ((await parameter(page, "supernodes")) ?? "[]").length).toBeGreaterThan(4);
  await tabTo(".sg-press");
  await press("F2");
  await page.keyboard.type("by keyboard");
  await press("Enter");
  await press("Control+s");
  await expect
    .poll(() => JSON.stringify([server.read("toy-sky").qParams.supernodes, server.read("toy-sky").qParams.clerps]))
    .toContain("by keyboard");
});

test("keys: / searches, ? helps, Esc closes and gives the focus back", async ({ page, open }) => {
  await open("toy-sky");
  await page.keyboard.press("/");
  await expect(page.getByTestId("search")).toBeFocused();
  await page.keyboard.press("Escape");
  await page.getByTestId("more").focus();
  await page.keyboard.press("?");
  const help = page.getByRole("dialog", { name: "Keys and pointer" });
  await expect(help).toBeVisible();
  for (let i = 0; i < 6; i++) {
    await page.keyboard.press("Tab");
    // The browser's own bar may come between; what never does is the page behind.
    expect(
      await page.evaluate(() => document.activeElement?.closest("dialog") !== null || document.activeElement === document.body),
    ).toBe(true);
  }
  await page.keyboard.press("Escape");
  await expect(help).toHaveCount(0);
  await expect(page.getByTestId("more")).toBeFocused();
});

test("the live region tells what is selected", async ({ page, open }) => {
  await open("toy-sky");
  await clickNode(page, "2_3_4");
  await expect(page.getByTestId("live")).toContainText(/4 inputs?/);
  await expect(page.getByTestId("live")).toContainText(/2 outputs?/);
});

test("network gone: said, and tried again", async ({ page, open, server, complaints }) => {
  await open("toy-sky");
  await server.stop();
  await page.getByTestId("picker").click();
  await expect(page.getByRole("alert")).toContainText("cannot be reached");
  await server.restart();
  await page.getByRole("dialog", { name: "Graphs" }).getByRole("button", { name: "Try again" }).click();
  await expect(page.locator("[data-slug]")).toHaveCount(server.slugs().length);
  complaints.length = 0;
});

test("an empty folder says how to make a graph", async ({ page, open }) => {
  await page.route("**/api/v1/graphs", (route) => route.fulfill({ json: { graphs: [] } }));
  await open(null);
  await expect(page.getByTestId("welcome")).toContainText("circuit-tracer attribute");
});

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(`axe, ${colorScheme}`, () => {
    test.use({ colorScheme });

    async function serious(page: Page): Promise<string[]> {
      const { violations } = await new AxeBuilder({ page }).analyze();
      return violations
        .filter(({ impact }) => impact === "serious" || impact === "critical")
        .flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 160)} ${failureSummary}`));
    }

    test("M31: the page with a selection, its table, its menu and its dialogs have no serious finding", async ({
      page,
      open,
    }) => {
      await open("toy-sky");
      expect(await serious(page)).toEqual([]);
      await selectInTable(page, "1_7_2");
      await expect(page.getByTestId("examples")).toBeVisible();
      await frameOf(page, "n:2_3_4").waitFor();
      expect(await serious(page)).toEqual([]);
      await page.getByTestId("tab-nodes").click();
      await page.getByTestId("search").fill("sky");
      expect(await serious(page)).toEqual([]);
      await page.getByTestId("picker").click();
      await expect(page.locator("[data-slug]").first()).toBeVisible();
      expect(await serious(page)).toEqual([]);
      await page.keyboard.press("Escape");
      await page.getByTestId("more").click();
      expect(await serious(page)).toEqual([]);
      await page.keyboard.press("Escape");
      for (const name of ["About this graph…", "Open a link…", "Add a graph file…", "Rename…", "Delete…", "Keys and pointer"]) {
        await page.getByTestId("more").click();
        await page.getByRole("menuitem", { name }).click();
        await page.locator("dialog[open]").waitFor();
        expect(await serious(page), name).toEqual([]);
        await page.keyboard.press("Escape");
      }
    });
  });
}
