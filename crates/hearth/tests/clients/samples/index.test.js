import { env } from "cloudflare:test";
import { expect, it } from "vitest";

import worker from "./index.js";

const get = (path) => worker.fetch(new Request(`http://samples${path}`), env);
const patience = { timeout: 180_000 };

it("chats", patience, async () => {
  const answer = await (await get("/chat")).json();
  expect(answer.response).not.toBe("");
  expect(answer.usage.completion_tokens).toBeGreaterThan(0);
});

it("embeds", patience, async () => {
  expect(await (await get("/embeddings")).json()).toHaveLength(768);
});

it("streams", patience, async () => {
  const response = await get("/stream");
  expect(response.headers.get("content-type")).toBe("text/event-stream");
  expect(await response.text()).toMatch(/^data: \{.*data: \[DONE\]\n\n$/s);
});
