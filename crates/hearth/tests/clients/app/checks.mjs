// What a Worker may expect of `env.AI`, checked from within. Each check gives true, or says what it
// saw instead. The same file runs in Workers, in tests of vitest and in Node.

const CHAT = "@cf/meta/llama-3.2-1b-instruct";
const WHISPER = "@cf/openai/whisper-tiny-en";
const PICTURE = "@cf/stabilityai/stable-diffusion-xl-base-1.0";
const PROMPT = { prompt: "Say hello.", max_tokens: 8 };

/** A second of silence: 16 kHz, 16 bits, one channel. */
export function silence() {
  const samples = 16000;
  const bytes = new Uint8Array(44 + samples * 2);
  const view = new DataView(bytes.buffer);
  const text = (at, letters) => [...letters].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + samples * 2, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, 16000, true);
  view.setUint32(28, 32000, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, samples * 2, true);
  return bytes;
}

async function thrown(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return { name: error.name, message: error.message };
  }
}

const isChat = (answer) => typeof answer.response === "string" && answer.usage.completion_tokens > 0;

const CHECKS = {
  async json(ai) {
    const answer = await ai.run(CHAT, PROMPT);
    return isChat(answer) || answer;
  },

  async stream(ai) {
    const stream = await ai.run(CHAT, { ...PROMPT, stream: true });
    const text = await new Response(stream).text();
    const frames = text.trimEnd().split("\n\n");
    const first = JSON.parse(frames[0].replace("data: ", ""));
    return (frames.at(-1) === "data: [DONE]" && typeof first.response === "string") || text;
  },

  async binary(ai) {
    const stream = await ai.run(PICTURE, { prompt: "a red square", num_steps: 1, width: 256, height: 256 });
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const magic = String.fromCharCode(...bytes.slice(1, 4));
    return magic === "PNG" || (bytes[0] === 0xff && bytes[1] === 0xd8) || magic;
  },

  async audio_stream(ai) {
    const body = new Response(silence()).body;
    const answer = await ai.run(WHISPER, { audio: { body, contentType: "audio/wav" } });
    return typeof answer.text === "string" || answer;
  },

  async audio_numbers(ai) {
    const answer = await ai.run(WHISPER, { audio: [...silence()] });
    return typeof answer.text === "string" || answer;
  },

  async error(ai) {
    const unknown = await thrown(() => ai.run("@cf/no/such", PROMPT));
    const wanted = { name: "AiError", message: "5007: No such model @cf/no/such or task" };
    if (JSON.stringify(unknown) !== JSON.stringify(wanted)) return unknown;
    const invalid = await thrown(() => ai.run(CHAT, { prompt: 1 }));
    return (invalid?.name === "AiError" && invalid.message.startsWith("5006: Error: ")) || invalid;
  },

  async raw_error(ai) {
    const response = await ai.run("@cf/no/such", PROMPT, { returnRawResponse: true });
    const body = await response.json();
    return (response.status === 400 && body.internalCode === 5007) || { status: response.status, body };
  },

  async abort(ai) {
    const controller = new AbortController();
    const options = { signal: controller.signal };
    const stream = await ai.run(CHAT, { ...PROMPT, max_tokens: 100, stream: true }, options);
    const reader = stream.getReader();
    await reader.read();
    controller.abort();
    const error = await thrown(async () => {
      while (!(await reader.read()).done);
    });
    return error?.name === "AbortError" || error;
  },

  async two_at_once(ai) {
    const answers = await Promise.all([ai.run(CHAT, PROMPT), ai.run(CHAT, PROMPT)]);
    return answers.every(isChat) || answers;
  },

  async models(ai) {
    const models = await ai.models();
    return models.some((model) => model.name === CHAT) || models.length;
  },
};

/** Runs every check; an object of their outcomes. */
export async function checks(ai) {
  const outcomes = {};
  for (const [name, check] of Object.entries(CHECKS)) {
    try {
      outcomes[name] = await check(ai);
    } catch (error) {
      outcomes[name] = `${error.name}: ${error.message}`;
    }
  }
  return outcomes;
}
