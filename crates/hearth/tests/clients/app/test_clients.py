"""The package's fixtures: a server for the tests, and the variables that clients read."""

import cloudflare
import openai
import pytest
from hearth_workers_ai import Hearth

CHAT = "@cf/meta/llama-3.2-1b-instruct"


def test_the_variables_lead_clients_to_the_server(hearth_environment: Hearth) -> None:
    answer = openai.OpenAI().embeddings.create(model="@cf/baai/bge-small-en-v1.5", input=["a", "b"])
    assert [len(item.embedding) for item in answer.data] == [384, 384]
    client = cloudflare.Cloudflare()
    answer = client.ai.run(CHAT, account_id=hearth_environment.account_id, prompt="Hi", max_tokens=4)
    assert isinstance(answer["response"], str)


def test_the_urls_lead_clients_to_the_server(hearth: Hearth) -> None:
    client = openai.OpenAI(base_url=hearth.openai, api_key=hearth.token)
    messages = [{"role": "user", "content": "Hi"}]
    assert client.chat.completions.create(model=CHAT, messages=messages, max_tokens=4).choices
    client = cloudflare.Cloudflare(base_url=hearth.api, api_token=hearth.token)
    assert client.ai.run(CHAT, account_id=hearth.account_id, prompt="Hi", max_tokens=4)["response"]


def test_a_wrong_url_is_refused() -> None:
    with pytest.raises(ValueError, match="no http:// URL"):
        Hearth(url="127.0.0.1:7777")
