// Makes the pictures of the README: the demo's annotated graph as the page shows it, light and dark. No test, so it runs only when
// asked for: CIRCUIT_SCREENSHOTS=FOLDER npm run e2e -- --project=screenshots
//
// What is pinned, grouped and labelled is demo/view.json, as `cargo xtask demo` opens it; the output is selected.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { awayFromNodes, expect, opened, settled, test } from "./harness";
import { makeDemoGraph } from "./serve";
import { ROOT } from "./where";

const FOLDER = process.env.CIRCUIT_SCREENSHOTS ?? "screenshots";

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(colorScheme, () => {
    test.use({ colorScheme, deviceScaleFactor: 2, viewport: { width: 1360, height: 850 } });

    test(`page, ${colorScheme}`, async ({ page, open, server, complaints }) => {
      mkdirSync(FOLDER, { recursive: true });
      const slug = makeDemoGraph(server.folder, join(ROOT, "demo/view.json"));
      const selected = server.read(slug).nodes.find((node) => node.is_target_logit === true)!.node_id;
      await open(slug, { clickedId: selected });
      await opened(page, slug);
      await expect(page.getByTestId("feature")).toHaveAttribute("data-node", selected);
      await expect(page.getByTestId("graph-replacement")).not.toHaveText("…");
      await awayFromNodes(page);
      await settled(page);
      await page.screenshot({ path: join(FOLDER, `page-${colorScheme}.png`) });
      await page.locator("#subgraph").screenshot({ path: join(FOLDER, `subgraph-${colorScheme}.png`) });
      complaints.length = 0;
    });
  });
}
