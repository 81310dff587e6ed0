"""What is said at start of a model that cannot be called."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from appbuilder import Component, FlaskRuntime, Message, Playground
from appbuilder.adapters.function import as_component
from appbuilder.components.model_checks import unready
from appbuilder.settings import Settings

gateway = Playground(model="eb-4")
openai = Playground(model="openai/m")
TOKEN, KEY = "No credential for the AppBuilder gateway", "No key for https://api.openai.com/v1"


class Assistant(Component):
    def __init__(self, model: Playground) -> None:
        super().__init__()
        self.playground = model

    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        return self.playground.run(message, stream)


def with_a_global(message: str) -> Iterator[str]:
    yield from gateway.run(Message(message), stream=True).content or ()


def without_a_model(message: str) -> str:
    return message


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APPBUILDER_TOKEN", "APPBUILDER_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("component", "said"),
    [
        (gateway, TOKEN),
        (openai, KEY),
        (Assistant(gateway), TOKEN),
        (Assistant(openai), KEY),
        (as_component(with_a_global), TOKEN),
        (Playground(), "Name a model"),
        (Playground(model="eb-4", secret_key="s"), ""),
        (Playground(model="eb-4", lazy_certification=True), ""),
        (as_component(without_a_model), ""),
        (object(), ""),
    ],
)
def test_what_is_said(component: Any, said: str) -> None:
    found = unready(component, Settings.load())
    assert found.startswith(said)
    assert bool(found) is bool(said)


def test_where_all_is_set_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPBUILDER_TOKEN", "t")
    assert not unready(gateway, Settings.load())
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    assert not unready(openai, Settings.load())
    monkeypatch.setenv("APPBUILDER_MODEL", "openai/other")
    monkeypatch.delenv("APPBUILDER_TOKEN")
    assert not unready(gateway, Settings.load())


def test_a_runtime_says_it_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    runtime = FlaskRuntime(gateway, "sqlite://")
    with caplog.at_level(logging.WARNING, "appbuilder"):
        runtime._say_unready()
    (line,) = caplog.messages
    assert line.startswith(f"the program's model cannot be called yet: {TOKEN}")
