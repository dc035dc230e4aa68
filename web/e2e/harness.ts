// What every test of the page starts from: a server of its own over a folder of its own, and a page that heard of no error.

import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test as base, expect, type Locator, type Page } from "@playwright/test";
import { writeFeatures, writeGraphs } from "../fixtures/write";
import type { Debug } from "../src/store/debug";
import { start } from "./serve";
import { CHROMIUM, ROOT } from "./where";

export { expect } from "@playwright/test";

/** The set that the fixture graphs name. */
const SCAN = "fixtures/toy-transcoders";

export interface SavedGraph {
  readonly metadata: Record<string, unknown>;
  readonly qParams: Record<string, unknown>;
  readonly nodes: readonly (Record<string, unknown> & { readonly node_id: string; readonly clerp: string })[];
  readonly links: readonly { readonly source: string; readonly target: string; readonly weight: number }[];
  readonly [key: string]: unknown;
}

export interface Server {
  /** Names of the graphs in the folder. */
  slugs(): string[];
  /** `http://127.0.0.1:PORT` */
  readonly address: string;
  /** The folder of graph files. */
  readonly folder: string;
  read(slug: string): SavedGraph;
  write(slug: string, graph: unknown): void;
  stop(): Promise<void>;
  /** Again on the same port, as after a crash. */
  restart(): Promise<void>;
}

interface Fixtures {
  readonly browserThere: undefined;
  readonly large: boolean;
  readonly server: Server;
  /** Errors of the page and of its console; a test that expects some takes them out. */
  readonly complaints: string[];
  readonly open: (slug: string | null, parameters?: Record<string, string>) => Promise<void>;
}

export const test = base.extend<Fixtures>({
  browserThere: [
    // biome-ignore lint/correctness/noEmptyPattern: the form that fixtures must have
    async ({}, use, info) => {
      info.skip(!existsSync(CHROMIUM), `skipped: there is no Chromium at ${CHROMIUM}`);
      await use(undefined);
    },
    { auto: true },
  ],

  large: [false, { option: true }],

  server: async ({ large }, use) => {
    const place = mkdtempSync(join(tmpdir(), "circuit-page-"));
    const folder = join(place, "graphs");
    const set = join(place, "set");
    writeGraphs(folder, { large });
    // Among the kept ones are files that Python wrote.
    cpSync(join(ROOT, "web/fixtures/graphs"), folder, { recursive: true });
    writeFeatures(set, 3, 16);
    let running = await start(folder, SCAN, set, 0);
    const { address } = running;
    await use({
      address,
      folder,
      slugs: () =>
        readdirSync(folder)
          .filter((name) => name.endsWith(".json") && name !== "graph-metadata.json")
          .map((name) => name.slice(0, -".json".length)),
      read: (slug) => JSON.parse(readFileSync(join(folder, `${slug}.json`), "utf8")) as SavedGraph,
      write: (slug, graph) => writeFileSync(join(folder, `${slug}.json`), JSON.stringify(graph)),
      stop: () => running.stop(),
      restart: async () => {
        running = await start(folder, SCAN, set, Number(new URL(address).port));
      },
    });
    await running.stop();
    rmSync(place, { recursive: true, force: true });
  },

  complaints: async ({ page }, use) => {
    const complaints: string[] = [];
    page.on("pageerror", (error) => complaints.push(`${error.name}: ${error.message}`));
    page.on("console", (message) => {
      // That a feature has no record is an answer, which the browser notes all the same.
      const answer = message.location().url.includes("/api/v1/features/");
      if (message.type() === "error" && !answer) complaints.push(`${message.text()} ${message.location().url}`);
    });
    await use(complaints);
    expect(complaints, "the page and its console complained").toEqual([]);
  },

  open: async ({ page, server, complaints: _heard }, use, info) => {
    if (info.project.name === "webgl") await page.addInitScript(hideSoftware);
    await use(async (slug, parameters = {}) => {
      const query = new URLSearchParams(slug === null ? parameters : { slug, ...parameters });
      await page.goto(`${server.address}/?${query}`);
      if (slug !== null) await opened(page, slug);
    });
  },
});

/** Hides that WebGL is computed by software, which the page would refuse and which is all that a machine of tests has. */
function hideSoftware(): void {
  const { getContext } = HTMLCanvasElement.prototype;
  HTMLCanvasElement.prototype.getContext = function (this: HTMLCanvasElement, kind: string, options?: object) {
    const slow = { ...options, failIfMajorPerformanceCaveat: false };
    return (getContext as (kind: string, options?: object) => RenderingContext | null).call(this, kind, slow);
  } as typeof getContext;
  const getExtension = WebGL2RenderingContext.prototype.getExtension as (name: string) => unknown;
  WebGL2RenderingContext.prototype.getExtension = function (this: WebGL2RenderingContext, name: string) {
    return name === "WEBGL_debug_renderer_info" ? null : getExtension.call(this, name);
  } as WebGL2RenderingContext["getExtension"];
}

/** What tests look at instead of pixels. */
export async function debug<Key extends keyof Debug>(page: Page, key: Key): Promise<Debug[Key]> {
  return (await page.evaluate((name: string) => window.__circuit![name as keyof Debug], key as string)) as Debug[Key];
}

export async function opened(page: Page, slug: string): Promise<void> {
  await page.waitForFunction((name) => window.__circuit?.slug === name, slug);
  await page.getByTestId("link-graph").waitFor();
  await painted(page);
}

/** Waits until what the page asked to be painted is painted. */
export async function painted(page: Page): Promise<void> {
  // Two frames: one to lay out, one to paint.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

/** Waits until the boxes of the subgraph move no more by themselves. */
export async function settled(page: Page): Promise<void> {
  await expect(page.getByTestId("subgraph")).toHaveAttribute("aria-busy", "false");
  await painted(page);
}

export interface Spot {
  readonly x: number;
  readonly y: number;
}

/**
 * Where the pointer meets each node of the link graph: the middle of all places at which that node is the hovered one, found by
 * moving over the panel in small steps as a pointer would.
 */
export async function spots(page: Page, step = 5): Promise<Map<string, Spot>> {
  const found = await page.evaluate((by) => {
    const ground = document.querySelector("[data-testid=link-graph-nodes]")!;
    const { left, top, right, bottom } = ground.getBoundingClientRect();
    const sums = new Map<string, [number, number, number]>();
    const send = (type: string, x: number, y: number) =>
      ground.dispatchEvent(
        new PointerEvent(type, { clientX: x, clientY: y, bubbles: true, pointerId: 1, pointerType: "mouse" }),
      );
    for (let y = top + 2; y < bottom; y += by) {
      for (let x = left + 2; x < right; x += by) {
        send("pointermove", x, y);
        const id = window.__circuit!.hover;
        if (id === null) continue;
        const sum = sums.get(id) ?? [0, 0, 0];
        sums.set(id, [sum[0] + x, sum[1] + y, sum[2] + 1]);
      }
    }
    send("pointerleave", left, top);
    return [...sums].map(([id, [x, y, n]]) => [id, { x: x / n, y: y / n }] as const);
  }, step);
  return new Map(found);
}

export async function clickNode(page: Page, id: string, modifiers: ("Control" | "Shift")[] = []): Promise<void> {
  const spot = (await spots(page)).get(id);
  expect(spot, `${id} can be met by the pointer`).toBeDefined();
  for (const key of modifiers) await page.keyboard.down(key);
  await page.mouse.move(spot!.x, spot!.y);
  await page.mouse.down();
  await page.mouse.up();
  for (const key of modifiers) await page.keyboard.up(key);
}

/** Selects a node by way of the table, which needs no pointer on a canvas. */
export async function selectInTable(page: Page, id: string): Promise<void> {
  await page.getByTestId("tab-nodes").click();
  await page.getByRole("searchbox", { name: "Filter by text" }).fill(`id:${id}`);
  const node = page.locator(`[role=grid] [data-node="${id}"]`);
  // A click on what is selected would clear it.
  if ((await node.getAttribute("aria-selected")) !== "true") await node.click();
  await page.getByRole("searchbox", { name: "Filter by text" }).fill("");
  await page.getByTestId("tab-connections").click();
  await awayFromNodes(page);
}

/** Puts the pointer where it hovers nothing. */
export async function awayFromNodes(page: Page): Promise<void> {
  await page.mouse.move(720, 896);
  await expect.poll(() => debug(page, "hover")).toBeNull();
}

export function line(page: Page, list: "Input features" | "Output features", id: string): Locator {
  return page.getByRole("listbox", { name: list }).locator(`[data-node="${id}"]`);
}

export async function linesOf(page: Page, list: "Input features" | "Output features"): Promise<string[]> {
  return page
    .getByRole("listbox", { name: list })
    .getByRole("option")
    .evaluateAll((lines) => lines.map((option) => (option as HTMLElement).dataset.node!));
}

export function box(page: Page, key: string): Locator {
  return page.locator(`[data-testid=subgraph-item][data-key=${JSON.stringify(key)}]`);
}

/** What is seen of a box, without its label. */
export function frameOf(page: Page, key: string): Locator {
  return box(page, key).locator(".sg-box");
}

/** The box of a supernode as a whole: its rim, since rings of members lie in the middle. */
export async function clickGroup(page: Page): Promise<void> {
  await page.locator("[data-testid=subgraph-item]:has(.sg-group) .sg-press").click({ position: { x: 4, y: 4 } });
}

export async function boxLabels(page: Page): Promise<string[]> {
  return page.locator("[data-testid=subgraph-item] .sg-label").allTextContents();
}

export async function save(page: Page): Promise<void> {
  await page.getByTestId("save").click();
  await expect(page.getByTestId("save")).toHaveAttribute("data-state", /saved|clean/);
}

/** The parameters in the address bar, once they rest. */
export async function parameter(page: Page, name: string): Promise<string | null> {
  return page.evaluate((key) => new URL(location.href).searchParams.get(key), name);
}
