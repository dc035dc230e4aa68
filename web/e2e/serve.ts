// Starts the real server on a folder, and makes the demo's graph with the real binary. For the tests in a browser and for the bench;
// knows nothing of either.

import { execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { binary, FEATURES, PAGE, ROOT } from "./where";

export interface Started {
  /** `http://127.0.0.1:PORT` */
  readonly address: string;
  readonly stop: () => Promise<void>;
}

/** Starts `circuit-tracer serve`; what it prints holds its address. `set` is the folder of records of the features of `scan`. */
export async function start(folder: string, scan: string, set: string, port: number): Promise<Started> {
  const args = ["serve", "--graph-file-dir", folder, "--features-dir", `${scan}=${set}`, "--port", String(port)];
  if (FEATURES !== undefined) args.push("--features-dir", FEATURES);
  if (PAGE !== undefined) args.push("--frontend-dir", PAGE);
  const child = spawn(binary(), args, { stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  let said = "";
  const address = await new Promise<string>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`The server did not say its address:\n${said}`)), 120_000);
    const hear = (chunk: Buffer) => {
      said += chunk.toString();
      const found = /http:\/\/127\.0\.0\.1:\d+/.exec(said);
      if (found === null) return;
      clearTimeout(late);
      resolve(found[0]);
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`The server ended with ${code}:\n${said}`)));
  });
  return {
    address,
    stop: async () => {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

/** Makes the graph of the demo's prompt into a folder, through the demo's model; with its slug. */
export function makeDemoGraph(folder: string, view?: string): string {
  const slug = "demo-dallas";
  const prompt = "fact : the capital of the state containing Dallas is";
  execFileSync(
    binary(),
    ["attribute", "-m", join(ROOT, "demo/model"), "-t", join(ROOT, "demo/transcoders"), "-p", prompt, "--slug", slug].concat([
      "--graph-file-dir",
      folder,
      ...(view === undefined ? [] : ["--view", view]),
    ]),
    { stdio: "ignore" },
  );
  return slug;
}
