"""Python's clients, held to what judge.mjs holds those of JavaScript to. Run by `hearth dev --openai`."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import sys
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

CHAT = "@cf/meta/llama-3.2-1b-instruct"
EMBED = "@cf/baai/bge-small-en-v1.5"
WHISPER = "@cf/openai/whisper-tiny-en"
PAINTER = "@cf/stabilityai/stable-diffusion-xl-base-1.0"
RERANKER = "@cf/baai/bge-reranker-base"
UNKNOWN = "@cf/no/such"
REFUSED = "AiError: No such model: No such model @cf/no/such or task"
ACCOUNT = os.environ["CLOUDFLARE_ACCOUNT_ID"]
TOKEN = os.environ["CLOUDFLARE_API_TOKEN"]
#: Time for a call that was cut off to end, in seconds.
CUT_MAX_S = 30


def silence() -> bytes:
    """A second of silence: 16 kHz, 16 bits, one channel."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(bytes(32000))
    return file.getvalue()


def raised(call: Callable[[], Any]) -> Exception:
    try:
        answer = call()
    except Exception as error:  # noqa: BLE001 - which one is what is asked
        return error
    raise AssertionError(f"no error, but {answer!r}")


def cancelled(answer: Any) -> str:
    """Cancels a call as asyncio does, once it waits for the server."""

    async def cut() -> str:
        task = asyncio.ensure_future(answer)
        await asyncio.sleep(0)
        task.cancel()
        try:
            await asyncio.wait_for(task, CUT_MAX_S)
        except asyncio.CancelledError:
            return "cancelled"
        return "an answer"

    return asyncio.run(cut())


class Cloudflare:
    def __init__(self) -> None:
        import cloudflare

        self.errors = cloudflare
        self.ai = cloudflare.Cloudflare(max_retries=0).ai
        self.asynchronous = cloudflare.AsyncCloudflare
        self.chat = {"account_id": ACCOUNT, "prompt": "Hi", "max_tokens": 8}

    def json(self) -> str:
        return self.ai.run(CHAT, **self.chat)["response"]

    def stream(self) -> Iterator[str]:
        with self.ai.with_streaming_response.run(CHAT, **self.chat, stream=True) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line[6:])["response"]

    def binary(self) -> bytes:
        size = {"width": 256, "height": 256, "num_steps": 1}
        raw = self.ai.with_raw_response
        return raw.run(PAINTER, account_id=ACCOUNT, prompt="a red square", extra_body=size).http_response.content

    def audio(self) -> str:
        return self.ai.run(WHISPER, account_id=ACCOUNT, audio=list(silence()))["text"]

    def embeddings(self, texts: list[str]) -> list[list[float]]:
        return self.ai.run(EMBED, account_id=ACCOUNT, text=texts)["data"]

    def error(self) -> tuple[Any, Any]:
        error = raised(lambda: self.ai.run(UNKNOWN, **self.chat))
        seen = [type(error).__name__, error.status_code, error.body["errors"]]
        return seen, ["BadRequestError", 400, [{"message": REFUSED, "code": 5007}]]

    def abort(self) -> tuple[str, str]:
        async def ask() -> Any:
            async with self.asynchronous(max_retries=0) as client:
                return await client.ai.run(CHAT, **self.chat)

        return cancelled(ask()), "cancelled"


class OpenAI:
    def __init__(self) -> None:
        import openai

        self.client = openai.OpenAI(max_retries=0)
        self.ask = {"model": CHAT, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}

    def json(self) -> str:
        return self.client.chat.completions.create(**self.ask).choices[0].message.content

    def stream(self) -> Iterator[str]:
        for chunk in self.client.chat.completions.create(**self.ask, stream=True):
            yield chunk.choices[0].delta.content or ""

    def embeddings(self, texts: list[str]) -> list[list[float]]:
        return [row.embedding for row in self.client.embeddings.create(model=EMBED, input=texts).data]

    def error(self) -> tuple[Any, Any]:
        error = raised(lambda: self.client.chat.completions.create(**self.ask | {"model": UNKNOWN}))
        seen = [type(error).__name__, error.status_code, error.body["errors"][0]["code"]]
        return seen, ["BadRequestError", 400, 5007]

    def abort(self) -> tuple[str, str]:
        with self.client.chat.completions.create(**self.ask, stream=True) as stream:
            next(iter(stream))
        return ("cut off" if stream.response.is_closed else "it is open"), "cut off"


class LangChain:
    def __init__(self) -> None:
        import langchain_cloudflare
        from hearth_workers_ai import Hearth

        here = Hearth()
        self.keys = {"account_id": ACCOUNT, "api_token": TOKEN}
        self.module = langchain_cloudflare
        self.base, self.accounts = here.api, here.accounts

    def chat(self, model: str = CHAT) -> Any:
        return self.module.ChatCloudflareWorkersAI(model=model, base_url=self.base, **self.keys)

    def json(self) -> str:
        reranker = self.module.CloudflareWorkersAIReranker(
            model_name=RERANKER, api_base_url=self.accounts, **self.keys
        )
        ranked = reranker.rerank("fruit", ["the moon", "a red apple"])
        assert sorted(row.index for row in ranked) == [0, 1], ranked
        return self.chat().invoke("Hi").content

    def stream(self) -> Iterator[str]:
        return (chunk.content for chunk in self.chat().stream("Hi"))

    def embeddings(self, texts: list[str]) -> list[list[float]]:
        embeddings = self.module.CloudflareWorkersAIEmbeddings(
            model_name=EMBED, api_base_url=self.accounts, **self.keys
        )
        return embeddings.embed_documents(texts)

    def error(self) -> tuple[Any, Any]:
        error = raised(lambda: self.chat(UNKNOWN).invoke("Hi"))
        seen = [type(error).__name__, error.response.status_code, error.response.json()["errors"][0]["code"]]
        return seen, ["HTTPStatusError", 400, 5007]

    def abort(self) -> tuple[str, str]:
        return cancelled(self.chat().ainvoke("Hi")), "cancelled"


class LlamaIndex:
    def __init__(self) -> None:
        from hearth_workers_ai import Hearth
        from llama_index.embeddings.cloudflare_workersai import CloudflareEmbedding, base
        from llama_index.llms.openai_like import OpenAILike

        here = Hearth()
        base.API_URL_TEMPLATE = here.llama_index
        self.embedding = lambda model: CloudflareEmbedding(account_id=ACCOUNT, auth_token=TOKEN, model=model)
        self.chat = lambda model: OpenAILike(
            model=model, api_base=here.openai, api_key=TOKEN, is_chat_model=True, max_tokens=8, max_retries=0
        )

    def json(self) -> str:
        return self.chat(CHAT).complete("Hi").text

    def stream(self) -> Iterator[str]:
        return (piece.delta for piece in self.chat(CHAT).stream_complete("Hi"))

    def embeddings(self, texts: list[str]) -> list[list[float]]:
        return self.embedding(EMBED).get_text_embedding_batch(texts)

    def error(self) -> tuple[Any, Any]:
        embedding = raised(lambda: self.embedding(UNKNOWN).get_text_embedding("a"))
        error = raised(lambda: self.chat(UNKNOWN).complete("Hi"))
        seen = [str(embedding), type(error).__name__, error.status_code, error.body["errors"][0]["code"]]
        return seen, ["'data'", "BadRequestError", 400, 5007]

    def abort(self) -> tuple[str, str]:
        return cancelled(self.chat(CHAT).acomplete("Hi")), "cancelled"


def is_text(text: Any) -> bool:
    return isinstance(text, str) and text != ""


def stream(client: Any) -> Any:
    pieces = list(client.stream())
    return (len(pieces) > 1 and is_text("".join(pieces))) or pieces


def binary(client: Any) -> Any:
    head = client.binary()[:4]
    return head[1:4] == b"PNG" or head[:2] == b"\xff\xd8" or repr(head)


def embeddings(client: Any) -> Any:
    widths = [len(vector) for vector in client.embeddings(["a red apple", "the moon"])]
    return widths == [384, 384] or widths


def error(client: Any) -> Any:
    seen, wanted = client.error()
    text = re.sub(r" \([0-9a-f-]{36}\)", "", json.dumps(seen))  # the id of the request
    return text == json.dumps(wanted) or text


def abort(client: Any) -> Any:
    seen, wanted = client.abort()
    return seen == wanted or seen


def two_at_once(client: Any) -> Any:
    with ThreadPoolExecutor(2) as pool:
        return all(is_text(text) for text in pool.map(lambda _: client.json(), range(2)))


CHECKS: dict[str, Callable[[Any], Any]] = {
    "json": lambda client: is_text(client.json()),
    "stream": stream,
    "binary": binary,
    "audio": lambda client: isinstance(client.audio(), str),
    "embeddings": embeddings,
    "error": error,
    "abort": abort,
    "two_at_once": two_at_once,
}
CLIENTS = {"cloudflare": Cloudflare, "openai": OpenAI, "langchain-cloudflare": LangChain, "llama-index": LlamaIndex}


def judge(client: Any) -> dict[str, Any]:
    outcomes: dict[str, Any] = {}
    for name, check in CHECKS.items():
        if name != "two_at_once" and not hasattr(client, name):
            continue
        try:
            outcomes[name] = check(client)
        except Exception as error:  # noqa: BLE001 - it is told in the outcomes
            outcomes[name] = f"{type(error).__name__}: {error}"
    return outcomes


if __name__ == "__main__":
    print("OUTCOMES", json.dumps({name: judge(CLIENTS[name]()) for name in sys.argv[1:]}))
