"""What a model server sends is read as far as it can be an answer, and no further."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from appbuilder import AppBuilderClient, Message, Playground
from appbuilder.components import model_component
from appbuilder.components.app_client import answers
from appbuilder.errors import ModelError, ModelRejected, ModelUnavailable
from appbuilder.models import http_client, response_body
from appbuilder.testing import AppDouble, AppReply, GatewayDouble, OpenAIDouble, Reply

HELLO = Message("你好")
MEGABYTE = 1024 * 1024
LONG = b"x" * (24 * MEGABYTE)
GZIPPED = gzip.compress(b" " * (64 * MEGABYTE))
HTML = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>"


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPBUILDER_MODEL_RETRIES", "0")


@pytest.fixture
def frugal() -> Iterator[Callable[[Callable[[], Any]], int]]:
    """Runs something and returns the bytes it held at its worst, beside what was held before."""

    def peak(work: Callable[[], Any]) -> int:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    yield peak
    tracemalloc.stop()


def ask(model: str, stream: bool = False) -> str:
    return "".join(Playground(model=model).run(HELLO, stream=stream).content or "")


def ask_app(stream: bool = False) -> Any:
    content = AppBuilderClient("app-1").run("conv-1", "q", stream=stream).content
    return list(content) if stream else content


@pytest.fixture(params=["eb-4", "openai/m", "app"])
def call(request: pytest.FixtureRequest) -> tuple[Any, Callable[[bool], Any]]:
    """A double, and a call of it that is streamed or not."""
    kind = str(request.param)
    names = {"eb-4": "gateway", "openai/m": "openai_server", "app": "app_server"}
    double = request.getfixturevalue(names[kind])
    return double, (ask_app if kind == "app" else lambda stream: ask(kind, stream))


def refused(work: Callable[[], Any], match: str = "", kind: type[ModelError] = ModelUnavailable) -> None:
    with pytest.raises(kind, match=match):
        work()


ENDLESS = {
    "error": (Reply(status=500, raw=LONG), "500", 3),
    "error, compressed": (Reply(status=500, raw=GZIPPED, headers={"Content-Encoding": "gzip"}), "500", 6),
    "error page": (Reply(status=502, raw=LONG, kind="text/html"), "502", 3),
    "line": (Reply(raw=b"data: " + LONG, kind="text/event-stream"), "cannot be read", 40),
    "event": (Reply(raw=b"data: x\n" * (3 * MEGABYTE)), "cannot be read", 60),
    "JSON": (Reply(raw=b'{"answer": "' + LONG, kind="application/json"), "cannot be read", 40),
    "JSON, compressed": (
        Reply(raw=gzip.compress(b'{"answer": "' + b"x" * (64 * MEGABYTE)), kind="application/json",
              headers={"Content-Encoding": "gzip"}), "cannot be read", 40),
    "values": (
        Reply(raw=b'{"answer": "", "log": [' + b"[]," * (2 * MEGABYTE) + b"[]]}"), "cannot be read", 40),
    "line, compressed": (
        Reply(raw=gzip.compress(b"data: " + b"x" * (64 * MEGABYTE)), headers={"Content-Encoding": "gzip"}),
        "cannot be read", 40),
}


@pytest.mark.parametrize(("reply", "said", "most"), ENDLESS.values(), ids=ENDLESS)
def test_no_answer_takes_more_than_its_bound(
    call: tuple[Any, Callable[[bool], Any]], frugal: Callable[[Callable[[], Any]], int],
    reply: Reply, said: str, most: int,
) -> None:
    double, work = call
    double.default = reply
    with pytest.raises(ModelError):
        work(True)  # which fetches the model list, and imports what calls need
    assert frugal(lambda: refused(lambda: work(True), said)) < most * MEGABYTE


@pytest.mark.parametrize("place", ["conversation", "upload", "feedback"])
def test_the_other_calls_of_an_application(
    app_server: AppDouble, frugal: Callable[[Callable[[], Any]], int], place: str, tmp_path: Any
) -> None:
    client, file = AppBuilderClient("app-1"), tmp_path / "f.txt"
    file.write_text("x")
    calls: dict[str, Callable[[], Any]] = {
        "conversation": client.create_conversation,
        "upload": lambda: client.upload_local_file("conv-1", str(file)),
        "feedback": lambda: client.feedback("conv-1", "m-1", "upvote"),
    }
    app_server.reply(Reply(raw=b'{"id": "' + LONG), Reply(status=500, raw=LONG), to=place)
    assert frugal(lambda: refused(calls[place], "cannot be read")) < 40 * MEGABYTE
    assert frugal(lambda: refused(calls[place], "500")) < 3 * MEGABYTE


def test_a_header_without_end(openai_server: OpenAIDouble) -> None:
    openai_server.default = Reply(hang=True, noise=b"x" * 200_000)
    refused(lambda: ask("openai/m"), "broke its answer off")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["eb-4", "openai/m"])
def test_the_text_of_an_answer_is_bounded(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, model: str, stream: bool
) -> None:
    double = request.getfixturevalue("gateway" if model == "eb-4" else "openai_server")
    monkeypatch.setattr(model_component, "LONGEST_ANSWER", 1000)
    double.default = Reply(["x" * 100] * 100)
    refused(lambda: ask(model, stream), "longer than 8 MiB")


def test_the_events_of_an_application_are_bounded(
    app_server: AppDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MAX_ANSWER", 10_000)
    conversation = AppBuilderClient("app-1").create_conversation()
    assert conversation == "conv-1"
    app_server.reply(AppReply(["x" * 100] * 100))
    refused(lambda: ask_app(stream=True), "cannot be read")


def test_what_tools_found_is_bounded(gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appbuilder.models.gateway.MAX_BODY", 10_000)
    found = [f'data: {{"answer": "", "tool": "t{n}", "result": "{"x" * 1000}"}}\n\n' for n in range(20)]
    gateway.default = Reply(raw="".join(found).encode())
    refused(lambda: ask("eb-4", stream=True), "cannot be read")


def test_the_beginning_of_a_long_error_is_read(gateway: GatewayDouble) -> None:
    ask("eb-4")
    told = json.dumps({"code": "BadRequest", "message": "no", "requestId": "r"}).encode()
    gateway.reply(Reply(status=400, raw=told + b" " * (http_client.MAX_ERROR - len(told)) + b"\n"))
    refused(lambda: ask("eb-4"), "400 BadRequest no", ModelRejected)
    # The rest was left unread: the connection is not used again.
    assert ask("eb-4") == "你好"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "text/event-stream", "application/json"])
def test_a_page_in_place_of_an_answer(
    call: tuple[Any, Callable[[bool], Any]], kind: str, stream: bool
) -> None:
    double, work = call
    if isinstance(double, GatewayDouble):
        work(False)
    double.default = Reply(raw=b"\n" + HTML, kind=kind)
    refused(lambda: work(stream), r"HTML page, not with JSON. The call went to 127.0.0.1:\d+; see \w+")


def test_what_is_neither_json_nor_events(call: tuple[Any, Callable[[bool], Any]]) -> None:
    double, work = call
    if isinstance(double, GatewayDouble):
        work(False)
    double.default = Reply(raw=b"upstream unavailable", kind="text/plain")
    refused(lambda: work(True), "cannot be read")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_says_where_it_leads(openai_server: OpenAIDouble, status: int) -> None:
    place = "https://other.test/v1?key=secret"
    openai_server.default = Reply(status=status, headers={"Location": place})
    with pytest.raises(ModelRejected, match=r"redirects to https://other\.test; give that address") as caught:
        ask("openai/m")
    assert "secret" not in str(caught.value)
    assert len(openai_server.requests) == 1


def test_an_address_that_leads_nowhere(openai_server: OpenAIDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", openai_server.address)
    refused(lambda: ask("openai/m"), "often ends with /v1.*see OPENAI_BASE_URL", ModelRejected)


def test_what_is_expected_of_a_body() -> None:
    assert response_body.MAX_BODY == 8 * MEGABYTE
    assert http_client.MAX_ERROR == 64 * 1024
