"""Programs that listen for everybody without a credential are warned once; the defaults stay the SDK's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from tests.unit.engines import Scripted

from appbuilder import ChainlitRuntime
from appbuilder.serve.page import page_app, page_server
from appbuilder.serve.page.page_options import Page, TrustedHeader
from appbuilder.serve.server import address

OPEN = ["0.0.0.0", "", "::", "192.0.2.7", "chat.example"]
OWN = ["127.0.0.1", "127.8.8.8", "::1", "localhost"]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


@pytest.mark.parametrize(("host", "count"), [(host, 1) for host in OPEN] + [(host, 0) for host in OWN])
def test_an_address_others_can_reach_is_a_warning(
    host: str, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "appbuilder"):
        address.announce(Flask("app"), host, 8091)
    assert len(warnings(caplog)) == count
    assert all(f"on {host or 'all addresses'} without a credential" in each for each in warnings(caplog))
    assert "serving on" in caplog.text


@pytest.mark.parametrize(
    ("host", "page", "count"),
    [
        ("0.0.0.0", Page(), 1),
        ("127.0.0.1", Page(), 0),
        ("0.0.0.0", Page(users={"ann": "secret"}), 0),
        ("0.0.0.0", Page(user_header=TrustedHeader("X-Forwarded-User")), 0),
    ],
)
def test_a_page_without_users_too(
    host: str, page: Page, count: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def nothing(*_args: Any, **_kwargs: Any) -> None: ...

    monkeypatch.setattr(page_app, "create_app", nothing)
    monkeypatch.setattr(page_server, "serve", nothing)
    runtime = ChainlitRuntime(Scripted(lambda message, stream: message), f"sqlite:///{tmp_path}/page.db")
    with caplog.at_level(logging.INFO, "appbuilder"):
        runtime.chainlit_component(host, page=page)
    assert len(warnings(caplog)) == count
