// What goes over the wire, and what the server's errors become.

import { expect, it } from "vitest";
import { ApiError, createApi } from "./client";

interface Sent {
  readonly url: string;
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly body: unknown;
}

function answering(status: number, body: unknown, headers: Record<string, string> = {}) {
  const sent: Sent[] = [];
  const api = createApi("http://h/page/", async (url, options = {}) => {
    sent.push({
      url: String(url),
      method: options.method ?? "GET",
      headers: Object.fromEntries([...new Headers(options.headers)].map(([name, value]) => [name.toLowerCase(), value])),
      body: options.body,
    });
    return new Response(status === 204 ? null : typeof body === "string" ? body : JSON.stringify(body), { status, headers });
  });
  return { api, sent };
}

const failed = (work: Promise<unknown>): Promise<ApiError> =>
  work.then(
    () => Promise.reject(new Error("it worked")),
    (error: unknown) => error as ApiError,
  );

it("lists graphs", async () => {
  const { api, sent } = answering(200, {
    graphs: [{ slug: "a", scan: "s", prompt: "p", prompt_tokens: ["p"], title_prefix: "t " }, 5, { slug: "b" }],
  });
  expect(await api.entries()).toEqual([
    { slug: "a", scan: "s", prompt: "p", tokens: ["p"], titlePrefix: "t " },
    { slug: "b", scan: "", prompt: "", tokens: [], titlePrefix: "" },
  ]);
  expect(sent[0]).toMatchObject({ url: "http://h/page/api/v1/graphs", method: "GET" });
});

it("fetches a graph's bytes with their version", async () => {
  const { api, sent } = answering(200, "{}", { ETag: '"v1"' });
  const { bytes, etag } = await api.graph("a/../b");
  expect([new TextDecoder().decode(bytes), etag]).toEqual(["{}", '"v1"']);
  expect(sent[0].url).toBe("http://h/page/api/v1/graphs/a%2F..%2Fb");
});

it("asks for a version alone", async () => {
  const { api, sent } = answering(200, "", { ETag: '"v5"' });
  expect(await api.etag("a")).toBe('"v5"');
  expect(sent[0].method).toBe("HEAD");
});

it("saves with the version that it knows", async () => {
  const { api, sent } = answering(200, { etag: '"v2"' });
  expect(await api.saveView("a", { pinnedIds: [] }, '"v1"')).toEqual({ etag: '"v2"' });
  expect(sent[0]).toMatchObject({
    url: "http://h/page/api/v1/graphs/a/view",
    method: "PUT",
    headers: { "if-match": '"v1"', "content-type": "application/json" },
    body: '{"pinnedIds":[]}',
  });
});

it("names what stands in the way of a save", async () => {
  const { api } = answering(409, { error: { code: "conflict", message: "It has changed.", etag: '"v9"' } });
  const error = await failed(api.saveView("a", {}, '"v1"'));
  expect(error).toBeInstanceOf(ApiError);
  expect(error).toMatchObject({ status: 409, code: "conflict", message: "It has changed.", etag: '"v9"', passing: false });
});

it("lists what is wrong with an upload", async () => {
  const { api, sent } = answering(422, {
    error: { code: "invalid", message: "Not a graph.", problems: [{ path: "/nodes/3/layer", reason: "a string is expected" }] },
  });
  const error = await failed(api.upload(new Blob(["{}"]), true));
  expect(error.problems).toEqual([{ path: "/nodes/3/layer", reason: "a string is expected" }]);
  expect(sent[0].url).toBe("http://h/page/api/v1/graphs?overwrite=true");
});

it("asks for scores and features, and reads what is null", async () => {
  const scores = answering(200, { graph: { replacement: 0.5, completeness: null }, subgraph: null });
  expect(await scores.api.scores("a", ["x"])).toEqual({
    graph: { replacement: 0.5, completeness: null },
    subgraph: { replacement: null, completeness: null },
  });
  expect(scores.sent[0]).toMatchObject({ url: "http://h/page/api/v1/graphs/a/scores", body: '{"pinned":["x"]}' });
  const feature = answering(200, { index: 7 });
  expect(await feature.api.feature("owner/repo@v1", 3, 7)).toEqual({ index: 7 });
  expect(feature.sent[0].url).toBe("http://h/page/api/v1/features/3/7?scan=owner%2Frepo%40v1");
});

it("renames and removes", async () => {
  const renamed = answering(200, { slug: "b", etag: '"v3"' });
  expect(await renamed.api.rename("a", "b")).toEqual({ slug: "b", etag: '"v3"' });
  const removed = answering(204, "");
  await removed.api.remove("a", '"v1"');
  expect(removed.sent[0]).toMatchObject({ method: "DELETE", headers: { "if-match": '"v1"' } });
});

it("makes sentences of answers that are not the server's, and of none", async () => {
  const proxy = answering(502, "<html>Bad gateway</html>");
  expect(await failed(proxy.api.entries())).toMatchObject({ status: 502, code: "http", passing: true });
  const page = answering(200, "<html>");
  expect(await failed(page.api.entries())).toMatchObject({ code: "not_json" });
  const gone = createApi("http://h/", () => Promise.reject(new TypeError("fetch failed")));
  expect(await failed(gone.entries())).toMatchObject({ status: 0, code: "unreachable", passing: true });
});
