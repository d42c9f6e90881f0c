// workers-ai-provider with the AI SDK, over REST or over the binding.
import { APICallError, embedMany, generateImage, generateText, streamText, transcribe } from "ai";

import { CHAT, EMBED, silence, UNKNOWN, WHISPER } from "./judge.mjs";

/** `painter`: a model whose pictures come through; `refused`: the message for a model that there is not. */
export const provider = (workersai, { painter, refused }) => ({
  async json() {
    return (await generateText({ model: workersai(CHAT), prompt: "Hi", maxOutputTokens: 4 })).text;
  },
  stream() {
    return streamText({ model: workersai(CHAT), prompt: "Hi", maxOutputTokens: 8 }).textStream;
  },
  async binary() {
    const { image } = await generateImage({ model: workersai.image(painter), prompt: "a red square" });
    return image.uint8Array;
  },
  async audio() {
    return (await transcribe({ model: workersai.transcription(WHISPER), audio: silence() })).text;
  },
  async embeddings(values) {
    return (await embedMany({ model: workersai.textEmbedding(EMBED), values })).embeddings;
  },
  async error() {
    try {
      return [await generateText({ model: workersai(UNKNOWN), prompt: "Hi", maxRetries: 0 }), "an error"];
    } catch (error) {
      return [[APICallError.isInstance(error), error.statusCode, error.message], [true, 400, refused]];
    }
  },
  async abort(controller) {
    const { fullStream } = streamText({
      model: workersai(CHAT),
      prompt: "Hi",
      abortSignal: controller.signal,
    });
    let last = "nothing";
    for await (const part of fullStream) {
      last = part.type;
      if (part.type === "text-delta") controller.abort();
    }
    return [last, "abort"];
  },
});
