// Clients of the REST surface, by the variables that `hearth dev --openai` sets.
import { generateText } from "ai";
import Cloudflare from "cloudflare";
import { hearthFetch } from "hearth-workers-ai";
import OpenAI from "openai";
import { createWorkersAI } from "workers-ai-provider";

const CHAT = "@cf/meta/llama-3.2-1b-instruct";
const EMBED = "@cf/baai/bge-small-en-v1.5";
const account_id = process.env.CLOUDFLARE_ACCOUNT_ID;

const CHECKS = {
  async cloudflare_run() {
    const answer = await new Cloudflare().ai.run(CHAT, { account_id, prompt: "Hi", max_tokens: 4 });
    return typeof answer.response === "string" || answer;
  },
  async cloudflare_error() {
    try {
      return await new Cloudflare({ maxRetries: 0 }).ai.run("@cf/no/such", { account_id, prompt: "Hi" });
    } catch (error) {
      return (error.status === 400 && error.errors[0].code === 5007) || String(error);
    }
  },
  async openai_chat() {
    const messages = [{ role: "user", content: "Hi" }];
    const answer = await new OpenAI().chat.completions.create({ model: CHAT, messages, max_tokens: 4 });
    return typeof answer.choices[0].message.content === "string" || answer;
  },
  async openai_stream() {
    const messages = [{ role: "user", content: "Hi" }];
    const stream = await new OpenAI().chat.completions.create({ model: CHAT, messages, max_tokens: 4, stream: true });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    return text.length > 0 || "no text";
  },
  async openai_embeddings() {
    const answer = await new OpenAI().embeddings.create({ model: EMBED, input: ["a", "b"] });
    return (answer.data.length === 2 && answer.data[0].embedding.length === 384) || answer;
  },
  async provider() {
    const workersai = createWorkersAI({ accountId: account_id, apiKey: "any", fetch: hearthFetch() });
    const { text } = await generateText({ model: workersai(CHAT), prompt: "Hi", maxOutputTokens: 4 });
    return text.length > 0 || "no text";
  },
};

const outcomes = {};
for (const [name, check] of Object.entries(CHECKS)) {
  try {
    outcomes[name] = await check();
  } catch (error) {
    outcomes[name] = `${error.name}: ${error.message}`;
  }
}
console.log(`OUTCOMES ${JSON.stringify(outcomes)}`);
