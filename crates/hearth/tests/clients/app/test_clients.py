"""Python's clients, by the package's fixture and URLs."""

import cloudflare
import openai
import pytest
from hearth_workers_ai import Hearth

CHAT = "@cf/meta/llama-3.2-1b-instruct"
MESSAGES = [{"role": "user", "content": "Hi"}]


def test_openai_chat(hearth_environment: Hearth) -> None:
    answer = openai.OpenAI().chat.completions.create(model=CHAT, messages=MESSAGES, max_tokens=4)
    assert isinstance(answer.choices[0].message.content, str)


def test_openai_stream(hearth: Hearth) -> None:
    client = openai.OpenAI(base_url=hearth.openai, api_key=hearth.token)
    stream = client.chat.completions.create(model=CHAT, messages=MESSAGES, max_tokens=4, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_openai_embeddings(hearth_environment: Hearth) -> None:
    answer = openai.OpenAI().embeddings.create(model="@cf/baai/bge-small-en-v1.5", input=["a", "b"])
    assert [len(item.embedding) for item in answer.data] == [384, 384]


def test_cloudflare_run(hearth_environment: Hearth) -> None:
    client = cloudflare.Cloudflare()
    answer = client.ai.run(CHAT, account_id=hearth_environment.account_id, prompt="Hi", max_tokens=4)
    assert isinstance(answer["response"], str)


def test_cloudflare_error(hearth: Hearth) -> None:
    client = cloudflare.Cloudflare(base_url=hearth.api, api_token=hearth.token)
    with pytest.raises(cloudflare.BadRequestError) as error:
        client.ai.run("@cf/no/such", account_id=hearth.account_id, prompt="Hi")
    assert error.value.body["errors"][0]["code"] == 5007


def test_a_wrong_url_is_refused() -> None:
    with pytest.raises(ValueError, match="no http:// URL"):
        Hearth(url="127.0.0.1:7777")
