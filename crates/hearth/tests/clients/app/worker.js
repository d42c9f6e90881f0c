import { checks } from "./checks.mjs";

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/outcomes") return Response.json(await checks(env.AI));
    if (pathname === "/one") {
      try {
        const answer = await env.AI.run("@cf/meta/llama-3.2-1b-instruct", { prompt: "Hi", max_tokens: 4 });
        return Response.json(answer);
      } catch (error) {
        return Response.json({ name: error.name, message: error.message }, { status: 502 });
      }
    }
    if (pathname === "/long") {
      const prompt = "Write down all numbers from one to one thousand.";
      const options = { prompt, max_tokens: 1500, temperature: 0, stream: true };
      return new Response(await env.AI.run("@cf/meta/llama-3.2-1b-instruct", options));
    }
    return new Response("ready");
  },
};
