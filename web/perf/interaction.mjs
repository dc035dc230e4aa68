// How long the page is busy with a hover and with a selection, on synthetic graphs of 2 000 nodes and 50 000 links and of 5 000
// and 100 000. Measures the built page (`npm run build` first) in a real browser; judges nothing unless asked to with --check.
//
// Usage: node perf/interaction.mjs [--browser PATH] [--dist FOLDER] [--webgl] [--all-links] [--check]
// Busy time is the browser's own account of its main thread per interaction: script, style, layout and paint, whatever part of
// the page caused it.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "@playwright/test";
import { runnerImport } from "vite";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { values: options } = parseArgs({
  options: {
    browser: { type: "string" },
    dist: { type: "string", default: here("../dist") },
    webgl: { type: "boolean", default: false },
    "all-links": { type: "boolean", default: false },
    check: { type: "boolean", default: false },
  },
});

const BUDGET = { hover: 16, select: 50 };
const HOVERS = 80;
const SELECTS = 40;
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

const { module: generator } = await runnerImport(here("../fixtures/generate.ts"));
const graphs = new Map(
  [
    [2_000, 50_000],
    [5_000, 100_000],
  ].map(([nodes, links]) => {
    const graph = generator.synthetic(nodes, links);
    return [graph.metadata.slug, JSON.stringify(graph)];
  }),
);

/** The page and its graphs, and nothing else of the server. */
const server = createServer((request, response) => {
  const path = normalize(new URL(request.url, "http://localhost").pathname);
  const json = (text, status = 200) => response.writeHead(status, { "Content-Type": "application/json" }).end(text);
  if (path === "/api/v1/graphs") return json(JSON.stringify({ graphs: [...graphs.keys()].map((slug) => ({ slug })) }));
  if (path.startsWith("/api/v1/graphs/")) {
    const text = graphs.get(decodeURIComponent(path.slice("/api/v1/graphs/".length)));
    return text === undefined ? json("{}", 404) : json(text);
  }
  if (path.startsWith("/api/")) return json("{}", 404);
  try {
    const file = join(options.dist, path === "/" ? "index.html" : path);
    response.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream" }).end(readFileSync(file));
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const browser = await chromium.launch({
  ...(options.browser === undefined ? {} : { executablePath: options.browser }),
  args: [
    "--no-sandbox",
    "--disable-background-networking",
    ...(options.webgl ? ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"] : ["--disable-gpu", "--disable-3d-apis"]),
  ],
});

function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

let over = false;
for (const slug of graphs.keys()) {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  await page.goto(`http://127.0.0.1:${server.address().port}/?slug=${slug}`);
  await page.waitForFunction(() => window.__circuit?.visibleNodes.length > 0, null, { timeout: 60_000 });
  const graph = page.getByTestId("link-graph");
  if (options["all-links"]) await page.getByText("All links").click();
  await page.waitForTimeout(1_500);
  const client = await page.context().newCDPSession(page);
  await client.send("Performance.enable", { timeDomain: "threadTicks" });
  const busy = async () => {
    const { metrics } = await client.send("Performance.getMetrics");
    const of = (name) => metrics.find((metric) => metric.name === name).value * 1_000;
    return { task: of("TaskDuration"), script: of("ScriptDuration") };
  };
  const settled = () =>
    page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve, 0)))));
  /** What the measuring itself costs. */
  const idle = [];
  for (let i = 0; i < 20; i++) {
    const before = await busy();
    await settled();
    idle.push((await busy()).task - before.task);
  }
  const cost = quantile(idle.sort((a, b) => a - b), 0.5);

  const box = await graph.boundingBox();
  const next = generator.random(5);
  const place = () => [box.x + 60 + next() * (box.width - 120), box.y + 90 + next() * (box.height - 190)];
  const measure = async (act, times) => {
    const task = [];
    const script = [];
    for (let i = 0; i < times; i++) {
      const at = place();
      if (act === "select") {
        await page.mouse.move(...at);
        await settled();
      }
      const before = await busy();
      if (act === "hover") await page.mouse.move(...at);
      else {
        await page.mouse.down();
        await page.mouse.up();
      }
      await settled();
      const after = await busy();
      task.push(after.task - before.task - cost);
      script.push(after.script - before.script);
    }
    // The first one compiles.
    return [task, script].map((list) => list.slice(1).sort((a, b) => a - b));
  };
  for (const [act, times] of [
    ["hover", HOVERS],
    ["select", SELECTS],
  ]) {
    const [task, script] = await measure(act, times);
    const p95 = quantile(task, 0.95);
    over ||= p95 > BUDGET[act];
    const ms = (value) => `${value.toFixed(1)} ms`;
    console.log(
      `${slug} ${act}: busy median ${ms(quantile(task, 0.5))}, p95 ${ms(p95)} (budget ${BUDGET[act]} ms); ` +
        `script median ${ms(quantile(script, 0.5))}, p95 ${ms(quantile(script, 0.95))}`,
    );
  }
  const own = await page.evaluate(() => window.__circuit.timings);
  for (const [name, list] of Object.entries(own)) {
    const sorted = [...list].sort((a, b) => a - b);
    console.log(`  ${name}: ${list.length} times, median ${quantile(sorted, 0.5).toFixed(2)} ms, p95 ${quantile(sorted, 0.95).toFixed(2)} ms`);
  }
  await page.close();
}
await browser.close();
server.close();
if (options.check && over) process.exitCode = 1;
