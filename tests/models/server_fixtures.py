"""Model servers as doubles, and the environment that leads to them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from appbuilder.models import gateway as gateway_module
from appbuilder.models import registry
from appbuilder.testing import AppDouble, GatewayDouble, OpenAIDouble

TOKEN = "bce-v3/ALTAK-x/y"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses, and nothing remembered of servers that had the same port."""
    monkeypatch.setenv("APPBUILDER_RETRY_BACKOFF", "0.01")
    gateway_module._catalogs.clear()
    registry._openai.cache_clear()


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, quick: None) -> Iterator[GatewayDouble]:
    with GatewayDouble() as double:
        monkeypatch.setenv("GATEWAY_URL", double.address)
        monkeypatch.setenv("APPBUILDER_TOKEN", TOKEN)
        yield double


@pytest.fixture
def openai_server(monkeypatch: pytest.MonkeyPatch, quick: None) -> Iterator[OpenAIDouble]:
    with OpenAIDouble() as double:
        monkeypatch.setenv("OPENAI_BASE_URL", double.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "key-1")
        yield double


@pytest.fixture
def app_server(monkeypatch: pytest.MonkeyPatch, quick: None) -> Iterator[AppDouble]:
    with AppDouble() as double:
        monkeypatch.setenv("GATEWAY_URL_V2", double.address)
        monkeypatch.setenv("APPBUILDER_TOKEN", TOKEN)
        yield double
