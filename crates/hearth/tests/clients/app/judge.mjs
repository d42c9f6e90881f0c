// What every client of Workers AI is held to. A client is an object of the ways that it has; a way that it
// has not is left out of its outcomes. The same file runs in Node and in a Worker.

export { silence } from "./checks.mjs";

export const CHAT = "@cf/meta/llama-3.2-1b-instruct";
export const EMBED = "@cf/baai/bge-small-en-v1.5";
export const WHISPER = "@cf/openai/whisper-tiny-en";
export const PAINTER = "@cf/stabilityai/stable-diffusion-xl-base-1.0";
export const UNKNOWN = "@cf/no/such";

/** The texts of a stream of Cloudflare's own frames. */
export async function* texts(body) {
  const frames = (await new Response(body).text()).trimEnd().split("\n\n");
  if (frames.pop() !== "data: [DONE]") throw new Error("no [DONE]");
  for (const frame of frames) yield JSON.parse(frame.replace("data: ", "")).response;
}

/** The name of what a call throws. */
export async function thrown(call) {
  try {
    await call();
    return "nothing";
  } catch (error) {
    return error.name;
  }
}

/** Aborts when a request is on its way. */
export const cutting = (controller) => (url, init) => {
  const answer = fetch(url, init);
  setImmediate(() => controller.abort());
  return answer;
};

/** Reads one piece of a body, aborts, and reads on: the name of what is thrown. */
export async function cut(body, controller) {
  const reader = body.getReader();
  await reader.read();
  controller.abort();
  return thrown(async () => {
    while (!(await reader.read()).done);
  });
}

const isText = (text) => typeof text === "string" && text.length > 0;

const CHECKS = {
  json: async (client) => isText(await client.json()),
  async stream(client) {
    const pieces = [];
    for await (const piece of client.stream()) pieces.push(piece);
    return (pieces.length > 1 && isText(pieces.join(""))) || pieces;
  },
  async binary(client) {
    const bytes = await client.binary();
    const magic = String.fromCharCode(...bytes.slice(1, 4));
    return magic === "PNG" || (bytes[0] === 0xff && bytes[1] === 0xd8) || magic;
  },
  audio: async (client) => typeof (await client.audio()) === "string",
  async embeddings(client) {
    const vectors = await client.embeddings(["a red apple", "the moon"]);
    return (vectors.length === 2 && vectors.every((vector) => vector.length === 384)) || vectors;
  },
  // What the client makes of code 5007 and status 400: [what it saw, what it should].
  async error(client) {
    const [seen, wanted] = await client.error();
    const text = JSON.stringify(seen).replace(/ \([0-9a-f-]{36}\)/g, ""); // the id of the request
    return text === JSON.stringify(wanted) || text;
  },
  async abort(client) {
    const [seen, wanted] = await client.abort(new AbortController());
    return seen === wanted || seen;
  },
  async two_at_once(client) {
    const ask = client.json ?? (() => client.embeddings(["a", "b"]).then(() => "two"));
    return (await Promise.all([ask(), ask()])).every(isText);
  },
};

/** Runs the checks for which the client has a way; an object of their outcomes. */
export async function judge(client) {
  const outcomes = {};
  for (const [name, check] of Object.entries(CHECKS)) {
    if (name !== "two_at_once" && client[name] === undefined) continue;
    try {
      outcomes[name] = await check(client);
    } catch (error) {
      outcomes[name] = `${error.name}: ${error.message}`;
    }
  }
  return outcomes;
}
