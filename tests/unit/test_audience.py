"""What is told of an error: to strangers a fixed text, to the local user the sentence of the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from appbuilder import Playground
from appbuilder.errors import AnswerError, Audience, ComponentError, ConfigurationError, ModelRejected
from appbuilder.protocols.errors import explained, to_problem
from appbuilder.runtime.service_runtime import ServiceRuntime
from appbuilder.serve.page.page_steps import ItemIds, error_line
from appbuilder.serve.server import supervisor
from appbuilder.settings import Settings

NO_CREDENTIAL = "No credential for the AppBuilder gateway. Set APPBUILDER_TOKEN"
FIXED = (
    "The service is misconfigured. See the server log.",
    "The component failed; the service's log says why",
)


def own(message: str) -> str:
    raise ValueError("secret of the program")


def later(message: str) -> Iterator[str]:
    yield from ()
    raise ConfigurationError("secret of the program")


def nothing(message: str) -> None:
    return None


AGENTS: dict[str, tuple[Any, str, str]] = {
    "model": (Playground("{query}", model="eb-4"), NO_CREDENTIAL, NO_CREDENTIAL),
    "nothing": (nothing, "The component returned nothing.", "The component returned nothing."),
    "own": (own, "failed in test_audience.py, line ", "ValueError: secret of the program"),
    "later": (later, "ConfigurationError. Its text is shown with --reload.", "secret of the program"),
}


@contextmanager
def served(agent: Any, folder: Path, peer: str = "127.0.0.1", **settings: Any) -> Iterator[TestClient]:
    made = Settings(page=False, database=f"sqlite:///{folder}/chat.db", attempts=1, **settings)
    app = ServiceRuntime(agent, settings=made).create_asgi_app(host="127.0.0.1")
    with TestClient(app, base_url="http://127.0.0.1", client=(peer, 5000)) as client:
        yield client


def told(client: TestClient, name: str, **headers: str) -> list[str]:
    """The error on each protocol, streamed and whole."""
    model = ServiceRuntime(AGENTS[name][0], settings=Settings(page=False, database="sqlite://")).name
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/chat", {"message": "hi"}),
        ("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/responses", {"model": model, "input": "hi"}),
    ]
    return [
        client.post(path, json={**body, "stream": stream}, headers=headers).text
        for path, body in asked for stream in (False, True)
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APPBUILDER_TOKEN", raising=False)


@pytest.mark.parametrize("reloads", [False, True])
@pytest.mark.parametrize("name", AGENTS)
def test_the_local_user_reads_the_sentence(
    name: str, reloads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reloads:
        monkeypatch.setattr(supervisor, "RELOADED", True)
    agent, local, developer = AGENTS[name]
    with served(agent, tmp_path) as client:
        answers = told(client, name)
        (kept, *_) = client.get("/sessions").json()["result"]["sessions"]
        turns = client.get(f"/sessions/{kept['session_id']}").text
    for answer in [*answers, turns]:
        assert (developer if reloads else local) in answer
        assert reloads or "secret of" not in answer


@pytest.mark.parametrize("reloads", [False, True])
@pytest.mark.parametrize("name", AGENTS)
def test_others_read_a_fixed_text(
    name: str, reloads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reloads:
        monkeypatch.setattr(supervisor, "RELOADED", True)
    agent, local, developer = AGENTS[name]

    def check(client: TestClient, **headers: str) -> None:
        for answer in told(client, name, **headers):
            assert any(fixed in answer for fixed in FIXED)
            assert local not in answer
            assert developer not in answer

    with served(agent, tmp_path, allow_anonymous=True) as client:
        check(client)
        check(client, **{"X-Forwarded-For": "203.0.113.7"})
    with served(agent, tmp_path, peer="203.0.113.7", allow_anonymous=True) as client:
        check(client)
    with served(agent, tmp_path) as client:
        # A chat application on this machine that asks for its users.
        check_openai = told(client, name, **{"X-OpenWebUI-User-Id": "u1", "X-OpenWebUI-User-Name": "U"})[2:]
        assert all(local not in answer and developer not in answer for answer in check_openai)


def test_the_page_shows_the_sentence_and_else_its_own_words() -> None:
    place = ItemIds("s", "r1", "t", "a", "zh-CN")
    error = ComponentError("The component failed.")
    error.__cause__ = ValueError("secret of the program")
    line = error_line(place, explained(error, audience=Audience.LOCAL))
    assert "ValueError" in line
    assert "secret" not in line
    assert error_line(place, explained(error)).startswith("组件出错了")


def test_only_the_packages_own_sentences_are_shown() -> None:
    def raised(error: BaseException) -> BaseException:
        try:
            raise error
        except BaseException as caught:
            return caught

    for error in (ConfigurationError("secret"), ComponentError("secret"), ModelRejected("secret")):
        assert "secret" not in to_problem(raised(error), audience=Audience.LOCAL).text
        assert "secret" in to_problem(raised(error), audience=Audience.DEVELOPER).text
        assert "secret" not in to_problem(raised(error)).text
    assert to_problem(AnswerError("x")).status == 500
    long = to_problem(ValueError("x" * 5000), audience=Audience.DEVELOPER).text
    assert len(long) < 1100
