// Measures the built page in a real browser against the real server, and writes what it found as JSON. It judges nothing and compares
// nothing: `cargo xtask bench --page` does.
//
// Usage: node bench/run.mjs --out FILE [GRAPH.json | GRAPH.json.gz]...
// The binary and the browser are found as by the tests in a browser (e2e/where.ts).

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { gunzipSync } from "node:zlib";
import { type Browser, type CDPSession, chromium, type Page } from "@playwright/test";
import { makeDemoGraph, start } from "../e2e/serve";
import { CHROMIUM } from "../e2e/where";
import { synthetic } from "../fixtures/generate";
import { writeFeatures } from "../fixtures/write.ts";

/** Steps of each kind. The first one compiles and is left out. */
const STEPS = { hover: 60, select: 20, slide: 30 } as const;

/** What one kind of step takes. */
interface Measured {
  /** Milliseconds from the event to the end of the frame that it causes. */
  readonly median: number;
  readonly p95: number;
  /** Milliseconds of processor time for each step: of the page's own process, and of the one that composes pictures. */
  readonly page: number;
  readonly compositor: number;
}

export interface Row {
  readonly graph: string;
  readonly nodes: number;
  readonly links: number;
  /** Milliseconds from the last byte of the graph to the first picture of it. */
  readonly shown: number;
  readonly hover: Measured;
  readonly hoverAllLinks: Measured;
  readonly select: Measured;
  readonly slide: Measured | null;
  /** Milliseconds of the longest task of the main thread after loading, MiB of the heap. */
  readonly longestTask: number;
  readonly heap: number;
}

interface Spot {
  readonly x: number;
  readonly y: number;
}

type Kind = keyof typeof STEPS;

export async function run(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({ args, allowPositionals: true, options: { out: { type: "string" } } });
  if (values.out === undefined) throw new Error("--out FILE says where the figures go");
  const place = mkdtempSync(join(tmpdir(), "circuit-bench-"));
  try {
    const rows = await measureAll(place, positionals);
    writeFileSync(values.out, `${JSON.stringify({ browser: rows.browser, rows: rows.rows }, null, 2)}\n`);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

async function measureAll(place: string, files: readonly string[]): Promise<{ browser: string; rows: Row[] }> {
  const folder = join(place, "graphs");
  const set = join(place, "set");
  mkdirSync(folder, { recursive: true });
  writeFeatures(set, 3, 16);
  const graphs = [{ name: "demo", slug: makeDemoGraph(folder) }];
  for (const [nodes, links] of [
    [2_000, 50_000],
    [5_000, 100_000],
  ]) {
    const graph = synthetic(nodes, links);
    graphs.push({ name: graph.metadata.slug, slug: graph.metadata.slug });
    writeFileSync(join(folder, `${graph.metadata.slug}.json`), JSON.stringify(graph));
  }
  for (const file of files) graphs.push(take(file, folder));

  const server = await start(folder, "fixtures/toy-transcoders", set, 0);
  const rows: Row[] = [];
  let version = "";
  try {
    // No flag chooses how pictures are made: what the machine has is measured.
    const args = ["--no-sandbox", "--disable-background-networking"];
    const browser = await chromium.launch({ executablePath: CHROMIUM, args });
    version = browser.version();
    for (const { name, slug } of graphs) {
      console.error(`measuring ${name}`);
      rows.push({ graph: name, ...(await measure(browser, server.address, slug)) });
    }
    await browser.close();
  } finally {
    await server.stop();
  }
  return { browser: `Chromium ${version}`, rows };
}

/** Puts a copy of a graph's file, unpacked, where the server finds it. */
function take(file: string, folder: string): { name: string; slug: string } {
  const bytes = readFileSync(file);
  const text = file.endsWith(".gz") ? gunzipSync(bytes) : bytes;
  const slug: unknown = JSON.parse(text.toString("utf8"))?.metadata?.slug;
  if (typeof slug !== "string") throw new Error(`${file} is not a graph: it has no metadata.slug`);
  writeFileSync(join(folder, `${slug}.json`), text);
  return { name: basename(file).replace(/\.json(\.gz)?$/, ""), slug };
}

async function measure(browser: Browser, address: string, slug: string): Promise<Omit<Row, "graph">> {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  page.setDefaultTimeout(300_000);
  const system = await browser.newBrowserCDPSession();
  await page.addInitScript(() => {
    const tasks: number[] = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({
      type: "longtask",
      buffered: true,
    });
    (window as unknown as { __tasks: number[] }).__tasks = tasks;
  });
  await page.goto(`${address}/?slug=${encodeURIComponent(slug)}`);
  await page.waitForFunction((name) => window.__circuit?.slug === name, slug);
  await page.getByTestId("link-graph").waitFor();
  const shown = await page.evaluate(async () => {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const file = performance.getEntriesByType("resource").find(({ name }) => /\/graphs\/[^/?]+$/.test(name));
    return performance.now() - (file as PerformanceResourceTiming).responseEnd;
  });
  await quiet(page);
  const counts = await page.evaluate(() => ({
    nodes: window.__circuit!.visibleNodes.length,
    links: Number(document.querySelector("[data-testid=status-counts]")!.textContent!.replace(/ of .*|\D/g, "")),
  }));
  const where = await spots(page);
  await page.evaluate(() => (window as unknown as { __tasks: number[] }).__tasks.splice(0));

  const hover = await steps(page, system, "hover", where);
  const select = await steps(page, system, "select", where);
  const all = page.getByRole("checkbox", { name: "All links" });
  await all.check();
  await quiet(page);
  const hoverAllLinks = await steps(page, system, "hover", where);
  await all.uncheck();
  const sliding = await page.getByTestId("pruning").count();
  const slide = sliding > 0 ? await steps(page, system, "slide", where) : null;
  const longest = await page.evaluate(() => Math.max(0, ...(window as unknown as { __tasks: number[] }).__tasks));
  const heap = await page.evaluate(
    () => (performance as unknown as { memory: { usedJSHeapSize: number } }).memory.usedJSHeapSize,
  );
  await page.close();
  return { ...counts, shown, hover, hoverAllLinks, select, slide, longestTask: longest, heap: heap / 2 ** 20 };
}

/** Waits until the page and the browser have nothing to do: what a step takes must not be what an earlier one left. */
async function quiet(page: Page): Promise<void> {
  await page.evaluate(async () => {
    await new Promise((done) => setTimeout(done, 1_000));
    await new Promise((done) => requestIdleCallback(done, { timeout: 10_000 }));
  });
}

/** Places of the link graph at which some node is the hovered one, spread over all of them. */
async function spots(page: Page): Promise<Spot[]> {
  const found = await page.evaluate(() => {
    const ground = document.querySelector("[data-testid=link-graph-nodes]")!;
    const { left, top, right, bottom } = ground.getBoundingClientRect();
    const places = new Map<string, { x: number; y: number }>();
    const send = (type: string, x: number, y: number) =>
      ground.dispatchEvent(
        new PointerEvent(type, { clientX: x, clientY: y, bubbles: true, pointerId: 1, pointerType: "mouse" }),
      );
    for (let y = top + 2; y < bottom; y += 8) {
      for (let x = left + 2; x < right; x += 8) {
        send("pointermove", x, y);
        const id = window.__circuit!.hover;
        if (id !== null) places.set(id, { x, y });
      }
    }
    send("pointerleave", left, top);
    return [...places.values()];
  });
  if (found.length === 0) throw new Error("the pointer meets no node of the link graph");
  return Array.from(
    { length: Math.max(...Object.values(STEPS)) },
    (_, i) => found[Math.floor((i * found.length) / 60) % found.length]!,
  );
}

async function steps(page: Page, system: CDPSession, kind: Kind, where: readonly Spot[]): Promise<Measured> {
  const list = where.slice(0, STEPS[kind]);
  await quiet(page);
  const before = await processorTime(system);
  const taken = await page.evaluate(perform, { kind, list });
  await quiet(page);
  const after = await processorTime(system);
  const sorted = taken.slice(1).sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.ceil(sorted.length * share) - 1]!;
  const each = (name: string) => Math.max(0, (after.get(name) ?? 0) - (before.get(name) ?? 0)) / list.length;
  return { median: at(0.5), p95: at(0.95), page: each("renderer"), compositor: each("GPU") };
}

/** Runs in the page: what each step's handlers take, and what the frame after it takes, without the wait for that frame. */
async function perform({ kind, list }: { kind: Kind; list: readonly Spot[] }): Promise<number[]> {
  const ground = document.querySelector("[data-testid=link-graph-nodes]")!;
  const slider = document.querySelector<HTMLInputElement>("[data-testid=pruning]");
  const { port1, port2 } = new MessageChannel();
  const send = (type: string, { x, y }: Spot) =>
    ground.dispatchEvent(
      new PointerEvent(type, { clientX: x, clientY: y, bubbles: true, pointerId: 1, pointerType: "mouse", button: 0 }),
    );
  const act = (i: number) => {
    if (kind === "hover") send("pointermove", list[i]!);
    else if (kind === "select") {
      send("pointerdown", list[i]!);
      send("pointerup", list[i]!);
    } else if (slider !== null) {
      slider.value = String(Number(slider.max) * (1 - (0.7 * (i + 1)) / list.length));
      slider.dispatchEvent(new Event("input", { bubbles: true }));
    }
  };
  const taken: number[] = [];
  for (let i = 0; i < list.length; i++) {
    const frame = new Promise<number>((done) => {
      requestAnimationFrame(() => {
        const begun = performance.now();
        port1.onmessage = () => done(performance.now() - begun);
        port2.postMessage(0);
      });
    });
    const begun = performance.now();
    act(i);
    await Promise.resolve();
    const handled = performance.now() - begun;
    taken.push(handled + (await frame));
  }
  return taken;
}

/** Milliseconds of processor time that each kind of process of the browser has used so far. */
async function processorTime(system: CDPSession): Promise<Map<string, number>> {
  const { processInfo } = await system.send("SystemInfo.getProcessInfo");
  const times = new Map<string, number>();
  for (const { type, cpuTime } of processInfo) times.set(type, (times.get(type) ?? 0) + cpuTime * 1_000);
  return times;
}
