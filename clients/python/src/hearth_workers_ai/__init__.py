"""Where a hearth is, in the words of each client."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["ACCOUNT", "DEFAULT_URL", "TOKEN", "Hearth"]

DEFAULT_URL = "http://127.0.0.1:7777"
#: hearth takes any account, and any token unless it has one of its own.
ACCOUNT = "0" * 32
TOKEN = "hearth"


@dataclass(frozen=True)
class Hearth:
    """A running hearth: ``Hearth()`` is the one of HEARTH_URL, else of the default address."""

    url: str = ""
    account_id: str = ACCOUNT
    token: str = ""

    def __post_init__(self) -> None:
        url = self.url or os.environ.get("HEARTH_URL") or DEFAULT_URL
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ValueError(f"hearth's URL is {url!r}, which is no http:// URL")
        token = self.token or os.environ.get("HEARTH_TOKEN") or TOKEN
        object.__setattr__(self, "url", url.rstrip("/"))
        object.__setattr__(self, "token", token)

    @property
    def api(self) -> str:
        """``base_url`` of ``cloudflare.Cloudflare`` and of langchain-cloudflare's chat."""
        return f"{self.url}/client/v4"

    @property
    def accounts(self) -> str:
        """``api_base_url`` of langchain-cloudflare's embeddings and reranker."""
        return f"{self.api}/accounts"

    @property
    def openai(self) -> str:
        """``base_url`` of ``openai.OpenAI``."""
        return f"{self.accounts}/{self.account_id}/ai/v1"

    @property
    def run(self) -> str:
        """In front of a model's name, for plain HTTP."""
        return f"{self.accounts}/{self.account_id}/ai/run"

    @property
    def llama_index(self) -> str:
        """``API_URL_TEMPLATE`` of llama_index.embeddings.cloudflare_workersai.base."""
        return f"{self.accounts}/{{}}/ai/run/{{}}"

    def environment(self) -> dict[str, str]:
        """The variables that clients read, as ``hearth dev --openai`` sets them."""
        return {
            "HEARTH_URL": self.url,
            "CLOUDFLARE_API_BASE_URL": self.api,
            "CLOUDFLARE_BASE_URL": self.api,
            "CLOUDFLARE_ACCOUNT_ID": self.account_id,
            "CLOUDFLARE_API_TOKEN": self.token,
            "OPENAI_BASE_URL": self.openai,
            "OPENAI_API_KEY": self.token,
        }
