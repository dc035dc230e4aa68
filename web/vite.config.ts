// How the page is built, served while developing, and tested. Nothing here reaches the browser.
//
// The built page has one HTML file and hashed assets, no inline script, no data: address and no remote host, so that the
// server's content security policy can be `default-src 'self'`.
import { defineConfig } from "vitest/config";

/** Where `npm run dev` finds the server; a variable since its port is a choice of its user. */
const server = process.env.CIRCUIT_SERVER ?? "http://127.0.0.1:8041";

export default defineConfig({
  base: "./",
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  worker: { format: "es" },
  server: {
    host: "127.0.0.1",
    port: 5173,
    proxy: Object.fromEntries(
      ["/api", "/data", "/graph_data", "/features", "/save_graph"].map((path) => [
        path,
        // The page writes only where its origin is the host that it asks, so the host must stay as it is.
        { target: server, changeOrigin: false },
      ]),
    ),
  },
  test: {
    environment: "happy-dom",
    include: ["src/**/*.test.{ts,tsx}", "fixtures/**/*.test.ts"],
    // Two cores are common on build machines.
    maxWorkers: 2,
    // A time-out is no assertion: it ends what hangs, and must never end what is only slow on a busy machine.
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
