// Acceptance list, M30: what the page does for a hover, a selection and a step of the slider on the graph of the budget. Counts,
// which no busy machine changes; milliseconds are measured by `cargo xtask bench --page`.

import type { Page } from "@playwright/test";
import { debug, expect, painted, type Spot, spots, test } from "./harness";

const GRAPH = "synthetic-2000-50000";

test.use({ large: true });

type Counts = Readonly<Record<string, number>>;

/** How often the page did what while `act` ran, with the frame that followed. Names that did not occur are left out. */
async function counted(page: Page, act: () => Promise<unknown>): Promise<Counts> {
  await painted(page);
  const before = await debug(page, "counts");
  await act();
  await painted(page);
  const after = await debug(page, "counts");
  const differences = Object.entries(after).map(([name, n]) => [name, n - (before[name] ?? 0)] as const);
  return Object.fromEntries(differences.filter(([, n]) => n > 0));
}

/** Sends pointer events to the link graph: each in a frame of its own, or all before the next frame. */
async function point(page: Page, where: readonly Spot[], { click = false, together = false } = {}): Promise<void> {
  await page.evaluate(
    async ({ list, press, atOnce }) => {
      const ground = document.querySelector("[data-testid=link-graph-nodes]")!;
      for (const { x, y } of list) {
        for (const type of press ? ["pointerdown", "pointerup"] : ["pointermove"]) {
          ground.dispatchEvent(
            new PointerEvent(type, { clientX: x, clientY: y, bubbles: true, pointerId: 1, pointerType: "mouse", button: 0 }),
          );
        }
        if (!atOnce) await new Promise(requestAnimationFrame);
      }
    },
    { list: [...where], press: click, atOnce: together },
  );
}

/** Elements that were added to the document while `act` ran. */
async function elementsMade(page: Page, act: () => Promise<unknown>): Promise<number> {
  await page.evaluate(() => {
    const made = { n: 0, stop: () => {} };
    const observer = new MutationObserver((records) => {
      for (const { addedNodes } of records) {
        for (const node of addedNodes) if (node instanceof Element) made.n += 1 + node.querySelectorAll("*").length;
      }
    });
    observer.observe(document.body, { childList: true, subtree: true });
    made.stop = () => observer.disconnect();
    (window as unknown as { __made: typeof made }).__made = made;
  });
  await act();
  await painted(page);
  return page.evaluate(() => {
    const made = (window as unknown as { __made: { n: number; stop: () => void } }).__made;
    made.stop();
    return made.n;
  });
}

/** Some nodes of the link graph, far enough apart that each is another one. */
async function someNodes(page: Page, n: number): Promise<Spot[]> {
  const all = [...(await spots(page, 16)).values()];
  expect(all.length).toBeGreaterThan(4 * n);
  return Array.from({ length: n }, (_, i) => all[Math.floor((i * all.length) / n)]!);
}

test("M30: a hover paints the ring around the node and nothing else @drawing", async ({ page, open }) => {
  await open(GRAPH);
  const where = await someNodes(page, 20);
  const hover = await counted(page, () => point(page, where));
  expect(hover).toEqual({ hover: 20, "paint overlay": 20, "paint: hover": 20 });
  // With all links on the screen it is the same.
  await page.getByRole("checkbox", { name: "All links" }).check();
  await expect.poll(() => debug(page, "counts")).toHaveProperty("upload all links", 1);
  expect(await counted(page, () => point(page, where))).toEqual(hover);
});

test("M30: pointer events of one frame are painted once @drawing", async ({ page, open }) => {
  await open(GRAPH);
  const where = await someNodes(page, 20);
  const { "paint overlay": overlays } = await counted(page, () => point(page, where, { together: true }));
  expect(overlays).toBe(1);
});

test("M30: a hover makes no element but those of the tooltip", async ({ page, open }) => {
  await open(GRAPH);
  const where = await someNodes(page, 20);
  await point(page, where.slice(0, 1), { click: true });
  await expect(page.getByTestId("selection-head")).toBeVisible();
  const made = await elementsMade(page, () => point(page, where));
  const tooltip = await page.getByTestId("tooltip").evaluate((one) => 1 + one.querySelectorAll("*").length);
  const feature = await page.getByTestId("feature").evaluate((one) => 1 + one.querySelectorAll("*").length);
  expect(made).toBeGreaterThan(0);
  expect(made).toBeLessThanOrEqual(where.length * (tooltip + feature));
});

test("M30: a selection computes and paints its links once, and lays nothing out @drawing", async ({ page, open }) => {
  await open(GRAPH);
  const where = await someNodes(page, 5);
  for (const spot of where) {
    const work = await counted(page, () => point(page, [spot], { click: true }));
    expect(work).toMatchObject({ select: 1, drawnLinks: 1, connections: 1, "paint links": 1, "paint nodes": 1 });
    for (const name of ["visible", "geometry", "edges", "paint ground", "paint all links", "upload all links"]) {
      expect(work, name).not.toHaveProperty(name);
    }
  }
});

test("M30: a selection of what is in sight scrolls nothing", async ({ page, open }) => {
  await open(GRAPH);
  const where = await someNodes(page, 5);
  // Scrolling an element by script lays the whole page out, even where nothing moves.
  await page.evaluate(() => {
    const seen = { n: 0 };
    (window as unknown as { __scrolls: typeof seen }).__scrolls = seen;
    const { scrollTo } = Element.prototype;
    Element.prototype.scrollTo = function (this: Element, ...args: unknown[]) {
      seen.n++;
      return (scrollTo as (...all: unknown[]) => void).apply(this, args);
    } as typeof scrollTo;
    const { get, set } = Object.getOwnPropertyDescriptor(Element.prototype, "scrollTop")!;
    Object.defineProperty(Element.prototype, "scrollTop", {
      get,
      set(value) {
        seen.n++;
        set!.call(this, value);
      },
    });
  });
  for (const spot of where) {
    await point(page, [spot], { click: true });
    await expect(page.getByTestId("selection-head")).toBeVisible();
  }
  expect(await page.evaluate(() => (window as unknown as { __scrolls: { n: number } }).__scrolls.n)).toBe(0);
});

test("M30: steps of the slider that are overtaken within a frame are dropped @drawing", async ({ page, open }) => {
  await open(GRAPH);
  const slide = (values: number[], together: boolean) =>
    page.evaluate(
      async ({ list, atOnce }) => {
        const slider = document.querySelector<HTMLInputElement>("[data-testid=pruning]")!;
        for (const value of list) {
          slider.value = String(value);
          slider.dispatchEvent(new Event("input", { bubbles: true }));
          if (!atOnce) await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        }
      },
      { list: values, atOnce: together },
    );
  const names = ["visible", "geometry", "drawnLinks", "paint ground", "paint links", "paint nodes", "paint overlay"];
  const times = (n: number) => Object.fromEntries(names.map((name) => [name, n]));
  // The first step and the last one.
  expect(await counted(page, () => slide([0.7, 0.6, 0.5, 0.4, 0.3], true))).toMatchObject(times(2));
  expect(await counted(page, () => slide([0.4, 0.5, 0.6], false))).toMatchObject(times(3));
});

test("M30: a graph is asked for and read once @drawing", async ({ page, open }) => {
  const asked: string[] = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await open(GRAPH);
  await painted(page);
  expect(asked.filter((path) => path.endsWith(`/graphs/${GRAPH}`))).toHaveLength(1);
  expect(await debug(page, "counts")).toMatchObject({ read: 1, visible: 1 });
});
