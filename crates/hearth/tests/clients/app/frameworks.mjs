// Libraries that take the binding of a Worker, below Hono.
import { CloudflareWorkersAIEmbeddings } from "@langchain/cloudflare";
import { Hono } from "hono";
import { createWorkersAI } from "workers-ai-provider";

import { CHAT, cut, EMBED, judge, PAINTER, silence, texts, UNKNOWN, WHISPER } from "./judge.mjs";
import { provider } from "./provider.mjs";

const REFUSED = "5007: No such model @cf/no/such or task";
const app = new Hono();

app.post("/chat", async (c) => c.json(await c.env.AI.run(CHAT, await c.req.json())));
app.post("/stream", async (c) => {
  const input = { ...(await c.req.json()), stream: true };
  const answer = await c.env.AI.run(CHAT, input, { signal: c.req.raw.signal });
  return c.body(answer, 200, { "content-type": "text/event-stream" });
});
app.get("/picture", async (c) =>
  c.body(await c.env.AI.run(PAINTER, { prompt: "a red square", num_steps: 1, width: 256, height: 256 })),
);
app.post("/audio", async (c) =>
  c.json(await c.env.AI.run(WHISPER, { audio: { body: c.req.raw.body, contentType: "audio/wav" } })),
);
app.post("/embed", async (c) => c.json(await c.env.AI.run(EMBED, await c.req.json())));
app.get("/unknown", async (c) => c.json(await c.env.AI.run(UNKNOWN, { prompt: "Hi" })));
app.onError((error, c) => c.json([error.name, error.message], 502));

function hono(env, context) {
  const ask = (path, body, init = {}) => app.request(path, { method: body ? "POST" : "GET", body, ...init }, env, context);
  const chat = JSON.stringify({ prompt: "Hi", max_tokens: 8 });
  return {
    json: async () => (await (await ask("/chat", chat)).json()).response,
    async *stream() {
      yield* texts((await ask("/stream", chat)).body);
    },
    binary: async () => new Uint8Array(await (await ask("/picture")).arrayBuffer()),
    audio: async () => (await (await ask("/audio", silence())).json()).text,
    embeddings: async (text) => (await (await ask("/embed", JSON.stringify({ text }))).json()).data,
    error: async () => [await (await ask("/unknown")).json(), ["AiError", REFUSED]],
    async abort(controller) {
      const { signal } = controller;
      const answer = await ask("/stream", chat, { signal });
      return [await cut(answer.body, controller), "AbortError"];
    },
  };
}

function langchain(env) {
  const embeddings = (model) => new CloudflareWorkersAIEmbeddings({ binding: env.AI, model, maxRetries: 0 });
  return {
    embeddings: (values) => embeddings(EMBED).embedDocuments(values),
    async error() {
      const seen = await embeddings(UNKNOWN).embedQuery("a").catch(({ name, message }) => [name, message]);
      return [seen, ["AiError", REFUSED]];
    },
  };
}

export default {
  async fetch(request, env, context) {
    const workersai = createWorkersAI({ binding: env.AI });
    return Response.json({
      "workers-ai-provider": await judge(provider(workersai, { painter: PAINTER, refused: REFUSED })),
      "@langchain/cloudflare": await judge(langchain(env)),
      hono: await judge(hono(env, context)),
    });
  },
};
