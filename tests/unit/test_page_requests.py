"""Which requests may speak, how large they may be, and what an error looks like."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import MutableMapping
from typing import Any

import pytest

from appbuilder.errors import (
    ComponentError,
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    StoreUnavailable,
)
from appbuilder.protocols import errors as problems
from appbuilder.serve.auth.request_info import read_request_info
from appbuilder.serve.page.page_requests import MOST_BODY, bounded, failed, same_origin
from appbuilder.serve.page.page_texts import is_chinese, text


def scope(
    method: str = "POST", path: str = "/", *headers: tuple[str, str], kind: str = "http"
) -> MutableMapping[str, Any]:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    found: dict[str, Any] = {"type": kind, "path": path, "headers": raw, "client": ("10.0.0.5", 1)}
    return found if kind == "websocket" else {**found, "method": method}


def may(method: str, path: str, *headers: tuple[str, str], kind: str = "http") -> bool:
    asked = scope(method, path, *headers, kind=kind)
    return same_origin(asked, read_request_info(asked))


HOST = ("host", "page.example:8091")
OURS = ("origin", "http://page.example:8091")
FOREIGN = [
    ("origin", value)
    for value in (
        "http://evil.example", "http://page.example", "http://page.example:80",
        "http://page.example:8091.evil.example", "http://evil.example/page.example:8091", "null", "",
        "page.example:8091", "http://", "file://", "http://evil.example http://page.example:8091",
    )
]
SPEAKING = [
    ("POST", "/login"), ("PUT", "/feedback"), ("DELETE", "/project/thread"), ("POST", "/ws/socket.io/"),
    ("GET", "/ws/socket.io/"), ("GET", "/ws/socket.io"), ("OPTIONS", "/"), ("PATCH", "/x"),
]


@pytest.mark.parametrize(("method", "path"), SPEAKING)
def test_only_our_own_page_may_speak(method: str, path: str) -> None:
    assert may(method, path, HOST, OURS)
    assert may(method, path, HOST, ("origin", "https://page.example:8091"))
    assert may(method, path, HOST), "a program that is no browser says no origin"
    for origin in FOREIGN:
        assert not may(method, path, HOST, origin), origin
    assert not may(method, path, OURS), "no host"
    assert not may(method, path, HOST, HOST, OURS)
    assert not may(method, path, HOST, OURS, OURS)
    assert not may(method, path, HOST, OURS, FOREIGN[0])
    assert not may(method, path, ("host", ""), ("origin", "null"))


def test_a_websocket_is_always_asked() -> None:
    for path in ("/ws/socket.io/", "/", "/assets/x"):
        assert may("", path, HOST, OURS, kind="websocket")
        assert not may("", path, HOST, FOREIGN[0], kind="websocket")


def test_reading_is_free() -> None:
    for method, path in (("GET", "/"), ("HEAD", "/"), ("GET", "/assets/index.js"), ("GET", "/user")):
        assert may(method, path, HOST, FOREIGN[0]), "what is read, a browser keeps from the other site"


async def _read(bodies: list[dict[str, Any]]) -> int:
    left = iter(bodies)

    async def receive() -> MutableMapping[str, Any]:
        return next(left)

    read, count = bounded(receive), 0
    for _ in bodies:
        count += len((await read()).get("body", b""))
    return count


def test_a_body_has_an_end() -> None:
    def part(size: int) -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * size, "more_body": True}

    assert asyncio.run(_read([part(MOST_BODY)])) == MOST_BODY
    assert asyncio.run(_read([part(MOST_BODY // 4)] * 4)) == MOST_BODY
    for bodies in ([part(MOST_BODY + 1)], [part(MOST_BODY), part(1)], [part(MOST_BODY // 4)] * 5):
        with pytest.raises(PayloadTooLarge):
            asyncio.run(_read(bodies))
    # A socket's messages are one for one, and its server bounds each.
    frames = [{"type": "websocket.receive", "bytes": b"x" * MOST_BODY}] * 3
    assert asyncio.run(_read([*frames, {"type": "http.disconnect"}])) == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest("x"), 400), (Forbidden("x"), 403), (NotFound("x"), 404),
        (MethodNotAllowed("x", "GET"), 405), (PayloadTooLarge("x"), 413), (Overloaded("x"), 503),
        (StoreUnavailable("secret-host"), 503), (ComponentError("secret"), 500), (KeyError("secret"), 500),
    ],
)
def test_an_error_is_json_and_tells_nothing_of_the_inside(
    error: BaseException, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = failed(error)
    body = json.loads(bytes(answer.body))
    assert (answer.status_code, answer.media_type) == (status, "application/json")
    assert body["code"] == status
    assert body["detail"] == body["message"]
    assert body["result"] is None
    assert len(body["request_id"]) == 36
    assert "secret" not in bytes(answer.body).decode()
    assert (body["request_id"] in caplog.text) == (status >= 500), "the log names it where it is our fault"


def test_what_goes_with_an_error() -> None:
    assert failed(Overloaded("x", retry_after=1.2)).headers["retry-after"] == "2"
    assert failed(MethodNotAllowed("x", "GET, POST")).headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"), ("en", "en"), ("", "en"), (" de ", "de"), ("*", "en"),
        ("中", "en"), ("../../etc", "en"), ("zh-Hans-CN", "zh-Hans-CN"),
    ],
)
def test_the_reader_s_language(accepted: str, expected: str) -> None:
    raw = [(b"accept-language", accepted.encode())]
    assert read_request_info({"type": "http", "client": None, "headers": raw}).language == expected
    assert read_request_info({"type": "http", "client": None, "headers": []}).language == "en"


def test_sentences_in_two_languages() -> None:
    assert all(map(is_chinese, ("zh", "zh-CN", "ZH-tw")))
    assert not any(map(is_chinese, ("en", "zhx", "")))
    assert text("stopped", "zh-CN") == "已停止"
    assert text("stopped", "fr") == "Stopped"
    assert text("nothing", "zh", "otherwise") == text("nothing", "en", "otherwise") == "otherwise"


def test_every_error_that_is_no_caller_s_has_its_sentence_in_chinese() -> None:
    """Those of callers' mistakes have texts of their own."""
    from appbuilder import errors

    callers = (errors.RequestError, errors.ConfigurationError)
    for kind, _, _ in problems._TABLE:
        if not issubclass(kind, callers):
            for each in (kind, *kind.__subclasses__()):
                if each is not errors.ServiceUnavailable:
                    assert text(each.__name__, "zh"), each
    assert text("ComponentError", "zh")
    assert text("ComponentError", "en", "The component failed.") == "The component failed."
