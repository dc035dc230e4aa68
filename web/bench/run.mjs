// The command behind `cargo xtask bench --page`: page.ts, which Node alone does not read and the build tool does.

import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

const { module } = await runnerImport(fileURLToPath(new URL("./page.ts", import.meta.url)));
await module.run(process.argv.slice(2));
