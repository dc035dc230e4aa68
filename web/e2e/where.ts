// Where the browser, the binary and the demo model are. Looks at the file system and the environment, starts nothing.

import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** The checkout. */
export const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** A folder with a built page to try instead of the one in the binary. */
export const PAGE = process.env.CIRCUIT_TRACER_PAGE;

/** `[SCAN=]FOLDER` of feature records to serve besides those of the fixtures. */
export const FEATURES = process.env.CIRCUIT_TRACER_FEATURES;

export function binary(): string {
  const named = process.env.CIRCUIT_TRACER_BIN;
  if (named !== undefined) {
    if (!existsSync(named)) throw new Error(`CIRCUIT_TRACER_BIN names ${named}, which does not exist`);
    return named;
  }
  const built = ["release", "debug"]
    .map((profile) => join(ROOT, "target", profile, "circuit-tracer"))
    .filter((path) => existsSync(path))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  const [newest] = built;
  if (newest === undefined) throw new Error("No binary: build circuit-cli, or name one with CIRCUIT_TRACER_BIN");
  return newest;
}
