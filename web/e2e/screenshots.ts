// Makes the pictures of the README: the graph of the demo's prompt as the page shows it, light and dark. No test, so it runs only
// when asked for: CIRCUIT_SCREENSHOTS=FOLDER npm run e2e -- --project=screenshots
//
// What is pinned and grouped follows from the graph alone (the most influential features, grouped by their token), so the pictures
// can be made again after the demo's model has changed. Nothing in them is labelled by hand.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { awayFromNodes, expect, makeDemoGraph, opened, type SavedGraph, test } from "./harness";
import { FEATURES } from "./where";

const FOLDER = process.env.CIRCUIT_SCREENSHOTS ?? "screenshots";
const MOST_FEATURES = 9;

function view(graph: SavedGraph): { parameters: Record<string, string>; selected: string } {
  const tokens = graph.metadata.prompt_tokens as string[];
  const at = (node: SavedGraph["nodes"][number]) => Number(node.ctx_idx);
  const features = graph.nodes
    .filter((node) => node.feature_type === "cross layer transcoder")
    .sort((a, b) => Number(a.influence ?? 1) - Number(b.influence ?? 1))
    .slice(0, MOST_FEATURES);
  const positions = [...new Set(features.map(at))].sort((a, b) => a - b);
  const embeddings = graph.nodes.filter((node) => node.feature_type === "embedding" && positions.includes(at(node)));
  const logit = graph.nodes.find((node) => node.is_target_logit === true);
  const pinned = [...embeddings, ...features, ...(logit === undefined ? [] : [logit])].map((node) => node.node_id);
  // Of one token and layer range: what the token itself says, and what is made of it.
  const groups = positions
    .map((position): string[] => [
      `at “${tokens[position]!.trim()}”`,
      ...features.filter((node) => at(node) === position && node.layer === "0").map((node) => node.node_id),
    ])
    .filter((group) => group.length > 2);
  // A feature where there are records of features, else the output.
  const feature = features.find((node) => node.layer !== "0") ?? features[0]!;
  const selected = (FEATURES === undefined && logit !== undefined ? logit : feature).node_id;
  return {
    parameters: { pinnedIds: pinned.join(","), supernodes: JSON.stringify(groups), linkType: "both", clickedId: selected },
    selected,
  };
}

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(colorScheme, () => {
    test.use({ colorScheme, deviceScaleFactor: 2, viewport: { width: 1360, height: 850 } });

    test(`page, ${colorScheme}`, async ({ page, open, server, complaints }) => {
      mkdirSync(FOLDER, { recursive: true });
      const slug = makeDemoGraph(server.folder);
      const { parameters, selected } = view(server.read(slug));
      await open(slug, parameters);
      await opened(page, slug);
      await expect(page.getByTestId("feature")).toHaveAttribute("data-node", selected);
      if (FEATURES !== undefined) await expect(page.getByTestId("examples")).toBeVisible();
      await expect(page.getByTestId("graph-replacement")).not.toHaveText("…");
      await awayFromNodes(page);
      // Layout runs in a worker and boxes then glide to their places.
      await page.waitForTimeout(1500);
      await page.screenshot({ path: join(FOLDER, `page-${colorScheme}.png`) });
      await page.locator("#subgraph").screenshot({ path: join(FOLDER, `subgraph-${colorScheme}.png`) });
      complaints.length = 0;
    });
  });
}
