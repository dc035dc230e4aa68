// How the page is tried in a browser: Chromium alone, once with WebGL by software and once without it. Nothing here is a test.
//
// CIRCUIT_TRACER_BIN names the binary that serves the page (else the one that was built last in the workspace's target folder),
// CIRCUIT_TRACER_PAGE a folder with a built page to try instead of the one in the binary, CIRCUIT_TRACER_FEATURES further feature
// records, CHROMIUM the browser. Without a browser every test is skipped, and that is said.

import { existsSync } from "node:fs";
import { defineConfig } from "@playwright/test";
import { CHROMIUM } from "./where";

if (!existsSync(CHROMIUM)) console.log(`skipped: there is no Chromium at ${CHROMIUM}`);

const QUIET = [
  "--no-sandbox",
  "--disable-background-networking",
  "--disable-component-update",
  "--no-first-run",
  "--mute-audio",
];

/**
 * WebGL by software, which must be allowed by name. Only that: as on any machine without a GPU the rest of the page is painted by
 * the browser's own painter. Flags that choose SwiftShader for everything (`--use-angle=swiftshader`) cost twenty times as much
 * for each frame.
 */
const GL = [...QUIET, "--enable-unsafe-swiftshader"];

export default defineConfig({
  testDir: ".",
  outputDir: "../test-results",
  reporter: [["list"]],
  workers: 1,
  // A test that passes only the second time has found something.
  retries: 0,
  forbidOnly: true,
  // Time-outs are no assertions: they end what hangs, and must never end what is only slow on a busy machine.
  timeout: 300_000,
  expect: { timeout: 60_000 },
  use: {
    viewport: { width: 1440, height: 900 },
    colorScheme: "light",
    locale: "en-GB",
    trace: "off",
  },
  projects: [
    ...(process.env.CIRCUIT_SCREENSHOTS === undefined
      ? []
      : [
          { name: "screenshots", testMatch: /screenshots\.ts/, use: { launchOptions: { executablePath: CHROMIUM, args: GL } } },
        ]),
    {
      name: "webgl",
      grepInvert: /@loads/,
      use: {
        launchOptions: { executablePath: CHROMIUM, args: GL },
      },
    },
    {
      // Only what depends on how links are drawn, and what loads so many pages that drawing them by software takes most of the time.
      name: "no-webgl",
      grep: /@drawing|@loads/,
      use: { launchOptions: { executablePath: CHROMIUM, args: [...QUIET, "--disable-gpu", "--disable-3d-apis"] } },
    },
  ],
});
