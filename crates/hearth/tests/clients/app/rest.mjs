// Clients of the REST surface, by the variables that `hearth dev --openai` sets.
import { ChatCloudflareWorkersAI, CloudflareWorkersAI } from "@langchain/cloudflare";
import Cloudflare from "cloudflare";
import { hearthFetch, hearthUrls } from "hearth-workers-ai";
import OpenAI from "openai";
import { createWorkersAI } from "workers-ai-provider";

import { CHAT, cut, cutting, EMBED, judge, PAINTER, silence, texts, thrown, UNKNOWN, WHISPER } from "./judge.mjs";
import { provider } from "./provider.mjs";

const account_id = process.env.CLOUDFLARE_ACCOUNT_ID;
const REFUSED = "AiError: No such model: No such model @cf/no/such or task";

async function caught(call) {
  try {
    return await call();
  } catch (error) {
    return error;
  }
}

function cloudflare() {
  const { ai } = new Cloudflare({ maxRetries: 0 });
  const chat = { account_id, prompt: "Hi", max_tokens: 8 };
  return {
    json: async () => (await ai.run(CHAT, chat)).response,
    async *stream() {
      yield* texts((await ai.run(CHAT, { ...chat, stream: true }).asResponse()).body);
    },
    async binary() {
      const picture = { account_id, prompt: "a red square", num_steps: 1, width: 256, height: 256 };
      return new Uint8Array(await (await ai.run(PAINTER, picture).asResponse()).arrayBuffer());
    },
    audio: async () => (await ai.run(WHISPER, { account_id, audio: [...silence()] })).text,
    embeddings: async (text) => (await ai.run(EMBED, { account_id, text })).data,
    async error() {
      const error = await caught(() => ai.run(UNKNOWN, chat));
      const seen = [error instanceof Cloudflare.BadRequestError, error.status, error.errors];
      return [seen, [true, 400, [{ message: REFUSED, code: 5007 }]]];
    },
    async abort(controller) {
      const { signal } = controller;
      const answer = ai.run(CHAT, { ...chat, stream: true }, { signal });
      return [await cut((await answer.asResponse()).body, controller), "AbortError"];
    },
  };
}

function openai() {
  const { chat, embeddings } = new OpenAI({ maxRetries: 0 });
  const ask = { model: CHAT, messages: [{ role: "user", content: "Hi" }], max_tokens: 8 };
  return {
    json: async () => (await chat.completions.create(ask)).choices[0].message.content,
    async *stream() {
      for await (const chunk of await chat.completions.create({ ...ask, stream: true })) {
        yield chunk.choices[0]?.delta?.content ?? "";
      }
    },
    async embeddings(input) {
      return (await embeddings.create({ model: EMBED, input })).data.map((row) => row.embedding);
    },
    async error() {
      const error = await caught(() => chat.completions.create({ ...ask, model: UNKNOWN }));
      return [[error instanceof OpenAI.BadRequestError, error.status], [true, 400]];
    },
    async abort(controller) {
      const { signal } = controller;
      const client = new OpenAI({ fetch: cutting(controller) });
      const error = await caught(() => client.chat.completions.create(ask, { signal }));
      return [error.constructor.name, "APIUserAbortError"];
    },
  };
}

function langchain() {
  const baseUrl = hearthUrls().run;
  const chat = (model) => new ChatCloudflareWorkersAI({ model, baseUrl, maxRetries: 0 });
  return {
    json: async () => (await chat(CHAT).invoke("Hi")).content,
    async *stream() {
      for await (const piece of await new CloudflareWorkersAI({ model: CHAT, baseUrl }).stream("Hi")) yield piece;
      for await (const chunk of await chat(CHAT).stream("Hi")) yield chunk.content;
    },
    async error() {
      const error = await caught(() => chat(UNKNOWN).invoke("Hi"));
      const { errors } = await error.response.json();
      return [[error.message, errors[0].code], ["Cloudflare LLM call failed with status code 400", 5007]];
    },
    async abort(controller) {
      const { signal } = controller;
      const seen = await thrown(async () => {
        for await (const _ of await chat(CHAT).stream("Hi", { signal })) controller.abort();
      });
      return [seen, "AbortError"];
    },
  };
}

const workersai = createWorkersAI({ accountId: account_id, apiKey: "any", fetch: hearthFetch() });
const clients = {
  cloudflare: cloudflare(),
  openai: openai(),
  "workers-ai-provider": provider(workersai, {
    painter: "@cf/black-forest-labs/flux-1-schnell", // it reads every answer as JSON
    refused: `Workers AI API error (400 Bad Request): {"errors":[{"message":"${REFUSED}","code":5007}],"success":false,"result":{},"messages":[]}`,
  }),
  "@langchain/cloudflare": langchain(),
};
const outcomes = {};
for (const [name, client] of Object.entries(clients)) outcomes[name] = await judge(client);
console.log(`OUTCOMES ${JSON.stringify(outcomes)}`);
