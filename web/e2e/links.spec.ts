// Addresses with what the graph has not, older names, and parameters of others.

import { box, boxLabels, expect, parameter, test } from "./harness";

test("an older name pins all its nodes, and what is no node is said until it is dismissed", async ({ page, open, server }) => {
  const toy = server.read("toy-sky");
  const nodes = toy.nodes.map((node) => (node.node_id.startsWith("1_7_") ? { ...node, jsNodeId: "1_7-0" } : node));
  server.write("toy-sky", { ...toy, nodes });
  await open("toy-sky", { pinnedIds: "1_7-0,9_9_9", supernodes: "[]", clickedId: "Nowhere" });
  await expect(box(page, "n:1_7_2")).toBeVisible();
  await expect(box(page, "n:1_7_4")).toBeVisible();
  const notice = page.getByTestId("view-notice");
  await expect(notice).toContainText("9_9_9 is no node of this graph");
  await expect(notice).toContainText("Nowhere is no node and no group");
  // It covers nothing: the graph begins below it.
  const [said, graph] = [await notice.boundingBox(), await page.getByTestId("link-graph").boundingBox()];
  expect(graph!.y).toBeGreaterThanOrEqual(said!.y + said!.height);
  await notice.getByRole("button", { name: "Dismiss" }).press("Enter");
  await expect(notice.getByRole("listitem")).toHaveCount(0);
  // The pin that is no node is kept, in the address and when the view is saved.
  expect(await parameter(page, "pinnedIds")).toBe("1_7_2,1_7_4,9_9_9");
});

test("groups may hold older names, and a member that is no node", async ({ page, open, server }) => {
  const toy = server.read("toy-sky");
  const nodes = toy.nodes.map((node) => (node.node_id.startsWith("1_7_") ? { ...node, jsNodeId: "1_7-0" } : node));
  server.write("toy-sky", { ...toy, nodes });
  await open("toy-sky", { pinnedIds: "1_7_2", supernodes: '[["g","1_7-0","8_8_8"]]' });
  await expect.poll(() => boxLabels(page)).toEqual(["g"]);
  await expect(page.getByTestId("view-notice")).toContainText("group “g”: 8_8_8 is no node");
});

test("parameters that mean nothing to the page stay in the address", async ({ page, open }) => {
  await open("toy-sky", { densityThreshold: "0.9", note: "a & b" });
  await expect(page.getByTestId("view-notice").getByRole("listitem")).toHaveCount(0);
  await page.getByRole("button", { name: "Clear pins" }).click();
  await expect.poll(() => parameter(page, "pinnedIds")).toBe(",");
  expect(await parameter(page, "densityThreshold")).toBe("0.9");
  expect(await parameter(page, "note")).toBe("a & b");
});
