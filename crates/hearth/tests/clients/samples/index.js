// The three samples of the Workers AI documentation, each at a path of its own.
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/chat") {
      const answer = await env.AI.run("@cf/meta/llama-3.1-8b-instruct", {
        prompt: "What is the origin of the phrase Hello, World",
        max_tokens: 512,
      });
      return Response.json(answer);
    }
    if (pathname === "/embeddings") {
      const embeddings = await env.AI.run("@cf/baai/bge-base-en-v1.5", {
        text: ["This is a story about an orange cloud"],
      });
      return Response.json(embeddings.data[0]);
    }
    if (pathname === "/stream") {
      const stream = await env.AI.run("@cf/meta/llama-3.1-8b-instruct", {
        messages: [{ role: "user", content: "Say hello." }],
        stream: true,
        max_tokens: 32,
      });
      return new Response(stream, { headers: { "content-type": "text/event-stream" } });
    }
    return new Response("ready");
  },
};
