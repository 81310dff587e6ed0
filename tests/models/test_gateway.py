"""The gateway's client: its model list, its errors, what is tried again."""

from __future__ import annotations

import contextvars
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from appbuilder import Message, Playground, clock
from appbuilder.core.context import init_context
from appbuilder.errors import (
    AppBuilderError,
    ConfigurationError,
    ModelError,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
    Unauthenticated,
)
from appbuilder.models import gateway_models as catalog_module
from appbuilder.models import http_client
from appbuilder.testing import GatewayDouble, Reply

HELLO = Message("你好")


def ask(model: str = "eb-4", stream: bool = False, **init: Any) -> str:
    answer = Playground(model=model, **init).run(HELLO, stream=stream)
    return "".join(answer.content or "")


def lists(gateway: GatewayDouble) -> int:
    return len(gateway.requests) - len(gateway.calls)


def in_request(credential: str, work: Callable[[], str]) -> str:
    """*work* in a request of a runtime that brought *credential*."""

    def run() -> str:
        context = init_context("s", "r")
        context.store = object()  # type: ignore[assignment]
        context.credential = credential
        return work()

    return contextvars.copy_context().run(run)


# The model list

def test_a_component_needs_neither_credential_nor_network_to_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APPBUILDER_TOKEN", raising=False)
    monkeypatch.setenv("GATEWAY_URL", "http://127.0.0.1:9")
    playground = Playground(model="eb-4")
    with pytest.raises(ConfigurationError, match="APPBUILDER_TOKEN"):
        playground.run(HELLO)


def test_the_list_is_fetched_once_per_credential_and_gateway(gateway: GatewayDouble) -> None:
    for _ in range(3):
        ask()
        ask("ERNIE-Bot")
    assert lists(gateway) == 1
    ask(secret_key="another")
    assert lists(gateway) == 2
    with GatewayDouble() as second:
        ask(gateway=second.address)
        assert lists(second) == 1


@pytest.mark.parametrize(
    ("short", "full"), [("eb-4", "ERNIE-Bot 4.0"), ("eb", "ERNIE-Bot"), ("eb-turbo", "ERNIE-Bot-turbo")]
)
def test_short_names(gateway: GatewayDouble, short: str, full: str) -> None:
    ask(short)
    model = gateway.calls[0].body["model_config"]["model"]
    assert model["name"] == short
    assert model["url"].endswith(f"/{full}")


def test_an_unknown_model_is_an_error_that_lists_the_others(gateway: GatewayDouble) -> None:
    with pytest.raises(ModelRejected, match=r"'nope'.*Available: ERNIE-Bot 4\.0, ERNIE-Bot"):
        ask("nope")
    assert gateway.calls == []


def test_lists_age(gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    ask()
    now[0] += catalog_module.FRESH_FOR - 1
    ask()
    assert lists(gateway) == 1
    now[0] += 2
    ask()
    assert lists(gateway) == 2
    # A model that is not there yet is looked for again, but not at each call.
    gateway.models = (*gateway.models, "new")
    with pytest.raises(ModelRejected):
        ask("new")
    now[0] += 61
    assert ask("new") == "你好"
    assert lists(gateway) == 3


def test_the_number_of_lists_is_bounded(gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "_MOST_LISTS", 2)
    for key in ("a", "b", "c", "c", "b", "a"):
        ask(secret_key=key)
    assert lists(gateway) == 4


def test_credentials_are_not_kept_in_the_list_cache(gateway: GatewayDouble) -> None:
    ask(secret_key="very-secret")
    from appbuilder.models.gateway import catalog

    assert "very-secret" not in repr(catalog()._lists)


# Credentials

def test_a_refused_credential_of_the_program_is_the_programs_fault(gateway: GatewayDouble) -> None:
    gateway._tokens = {"right"}
    with pytest.raises(ModelRejected, match="InvalidToken") as caught:
        ask(secret_key="wrong")
    assert "wrong" not in str(caught.value)
    assert caught.value.code == "InvalidToken"


def test_a_refused_credential_of_the_request_is_the_callers(gateway: GatewayDouble) -> None:
    gateway._tokens = {"right"}
    lazy = Playground(model="eb-4", lazy_certification=True)
    assert in_request("right", lambda: lazy.run(HELLO).content or "") == "你好"
    with pytest.raises(Unauthenticated):
        in_request("wrong", lambda: lazy.run(HELLO).content or "")
    assert {call.headers["x-appbuilder-authorization"] for call in gateway.calls} == {"Bearer right"}


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "字", "a\x00"])
def test_a_credential_that_cannot_be_a_header_is_not_sent(gateway: GatewayDouble, token: str) -> None:
    with pytest.raises(ConfigurationError):
        ask(secret_key=token)
    lazy = Playground(model="eb-4", lazy_certification=True)
    with pytest.raises(Unauthenticated):
        in_request(token, lambda: lazy.run(HELLO).content or "")
    assert gateway.requests == []


def test_requests_at_the_same_time_keep_their_credentials_apart(gateway: GatewayDouble) -> None:
    lazy = Playground(model="eb-4", lazy_certification=True)

    def user(name: str) -> None:
        for _ in range(10):
            in_request(name, lambda: lazy.run(Message(name)).content or "")

    threads = [threading.Thread(target=user, args=(f"user-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(gateway.calls) == 80
    for call in gateway.calls:
        assert call.headers["x-appbuilder-authorization"] == f"Bearer {call.body['query']}"


# Errors

ERRORS: list[tuple[Reply, type[AppBuilderError], int]] = [
    (Reply(status=400, error=("BadRequest", "no")), ModelRejected, 1),
    (Reply(status=403, error=("AccessDenied", "no")), ModelRejected, 1),
    (Reply(status=301, error=("", "")), ModelRejected, 1),
    (Reply(status=400, error=("InvalidToken", "no")), ModelRejected, 1),
    (Reply(status=429), RateLimited, 3),
    (Reply(status=500), ModelUnavailable, 3),
    (Reply(status=503), ModelUnavailable, 3),
    (Reply(status=504), ModelTimeout, 3),
    # Told with status 200.
    (Reply(raw=b'{"code":"InvalidToken","message":"m","requestId":"r"}'), ModelRejected, 1),
    (Reply(raw=b'{"code":0,"message":"m","requestId":"r"}'), ModelRejected, 1),
    (Reply(raw=b'{"error_code":18,"error_msg":"qps"}'), RateLimited, 3),
    (Reply(raw=b'{"code":"336100","message":"busy","requestId":"r"}'), ModelUnavailable, 3),
    (Reply(raw=b"not json"), ModelUnavailable, 1),
    (Reply(raw=b'{"answer": "\xff"}'), ModelUnavailable, 1),
    (Reply(raw=b"[]"), ModelUnavailable, 1),
    (Reply(cut_after=0), ModelUnavailable, 3),
]


@pytest.mark.parametrize(("reply", "error", "tries"), ERRORS)
def test_errors_of_a_blocking_call(
    gateway: GatewayDouble, reply: Reply, error: type[AppBuilderError], tries: int
) -> None:
    gateway.default = reply
    with pytest.raises(error) as caught:
        ask()
    assert type(caught.value) is error
    assert len(gateway.calls) == tries


TWO_EVENTS = 'data: {"answer":"一"}\n\ndata: {"answer":"二"}\n\n'.encode()
STREAM_ERRORS: list[tuple[Reply, type[AppBuilderError], int]] = [
    *[row for row in ERRORS if row[0].raw is None],
    (Reply(error_after=0), ModelUnavailable, 3),
    (Reply(error_after=0, error=("InvalidToken", "m")), ModelRejected, 1),
    (Reply(raw=b"data: not json\n\n"), ModelUnavailable, 1),
    (Reply(raw=b"data: [1]\n\n"), ModelUnavailable, 1),
    (Reply(raw=b'data: {"answer": "\xff"}\n\n'), ModelUnavailable, 1),
    (Reply(raw=b""), ModelUnavailable, 3),
]


@pytest.mark.parametrize(("reply", "error", "tries"), STREAM_ERRORS)
def test_errors_of_a_streamed_call(
    gateway: GatewayDouble, reply: Reply, error: type[AppBuilderError], tries: int
) -> None:
    gateway.default = reply
    with pytest.raises(error) as caught:
        ask(stream=True)
    assert type(caught.value) is error
    assert len(gateway.calls) == tries


@pytest.mark.parametrize(
    "reply",
    [
        Reply(["一", "二", "三"], cut_after=2),
        Reply(["一", "二", "三"], error_after=2),
        Reply(["一", "二"], unfinished=True),
        Reply(raw=TWO_EVENTS + 'data: {"answer":"三'.encode()),
        Reply(raw=TWO_EVENTS + b'data: {"answer":"\xff"}\n\n'),
    ],
)
def test_a_broken_stream_gives_what_came_and_then_an_error_and_is_not_tried_again(
    gateway: GatewayDouble, reply: Reply
) -> None:
    gateway.default = reply
    answer = Playground(model="eb-4").run(HELLO, stream=True)
    said = []
    with pytest.raises(ModelUnavailable):
        for piece in answer.content or ():
            said.append(piece)
    assert said == ["一", "二"]
    assert len(gateway.calls) == 1


def test_what_can_pass_is_tried_again(gateway: GatewayDouble) -> None:
    gateway.reply(Reply(status=429), Reply(status=502))
    assert ask() == "你好"
    gateway.reply(Reply(error_after=0, error=("18", "qps")), Reply(cut_after=0))
    assert ask(stream=True) == "你好"
    assert len(gateway.calls) == 6


def test_the_number_of_tries_is_a_setting(gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPBUILDER_MODEL_RETRIES", "0")
    gateway.reply(Reply(status=500))
    with pytest.raises(ModelUnavailable):
        ask()


def test_retry_after_is_kept_to(gateway: GatewayDouble) -> None:
    ask()
    gateway.reply(Reply(status=429, headers={"Retry-After": "1"}))
    before = clock.monotonic()
    assert ask() == "你好"
    assert 1.0 <= clock.monotonic() - before < 3.0


def test_a_long_retry_after_is_passed_on(gateway: GatewayDouble) -> None:
    gateway.reply(Reply(status=429, headers={"Retry-After": "30"}))
    with pytest.raises(RateLimited) as caught:
        ask()
    assert caught.value.retry_after == 30
    assert len(gateway.calls) == 1


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    with GatewayDouble() as double:
        address = double.address
    monkeypatch.setenv("GATEWAY_URL", address)
    place = address.removeprefix("http://")
    told = f"reached: the connection was refused, .* there. The call went to {place}; see GATEWAY_URL.$"
    with pytest.raises(ModelUnavailable, match=told):
        ask(secret_key="t")


def test_silence_is_a_timeout(gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPBUILDER_MODEL_RETRIES", "0")
    monkeypatch.setenv("APPBUILDER_MODEL_TIMEOUT", "0.2")
    ask()
    for reply in (Reply(hang=True), Reply(silent_after=1)):
        for stream in (False, True):
            gateway.reply(reply)
            with pytest.raises(ModelTimeout):
                ask(stream=stream)
    gateway.wait_for_left(4)


def test_the_timeout_of_one_call(gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPBUILDER_MODEL_RETRIES", "0")
    ask()
    for timeout in (0.2, (3.0, 0.2)):
        gateway.reply(Reply(hang=True))
        with pytest.raises(ModelTimeout):
            Playground(model="eb-4").run(HELLO, timeout=timeout)


@pytest.mark.parametrize("address", ["ftp://x", "http://[::1", "https://"])
def test_a_wrong_address(address: str) -> None:
    with pytest.raises((ConfigurationError, ModelUnavailable)):
        ask(secret_key="t", gateway=address)


def test_the_error_tells_the_servers_id(gateway: GatewayDouble) -> None:
    gateway.reply(Reply(status=400))
    with pytest.raises(ModelError) as caught:
        ask()
    assert len(caught.value.request_id) == 36


def test_a_list_that_fails(gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    with monkeypatch.context() as patch:
        patch.setattr(gateway, "_list", lambda: {"error_code": 336000, "error_msg": "internal"})
        with pytest.raises(ModelUnavailable):
            ask()
    assert lists(gateway) == 3
    assert ask() == "你好"
    # A list that was once there is used until there is a new one.
    now[0] += catalog_module.FRESH_FOR + 1
    with monkeypatch.context() as patch:
        patch.setattr(gateway, "_list", lambda: {"error_code": 336000, "error_msg": "internal"})
        assert ask() == "你好"
        assert ask() == "你好"
    assert lists(gateway) == 7
    monkeypatch.setattr(gateway, "_list", lambda: {"unexpected": 1})
    with pytest.raises(ModelRejected, match="list cannot be read"):
        ask(secret_key="new")


# Connections

def test_an_answer_read_to_its_end_gives_its_connection_back(gateway: GatewayDouble) -> None:
    for _ in range(3):
        ask()
        ask(stream=True)
    assert gateway.left == 0
    assert gateway.connections == 1


def test_a_closed_answer_closes_its_connection(gateway: GatewayDouble) -> None:
    gateway.reply(Reply(["一", "二"], silent_after=1))
    content = Playground(model="eb-4").run(HELLO, stream=True).content
    assert content is not None
    assert next(content) == "一"
    content.close()
    gateway.wait_for_left()
    assert list(content) == []


def test_an_answer_nobody_keeps_closes_its_connection(gateway: GatewayDouble) -> None:
    gateway.reply(Reply(["一", "二"], silent_after=1))
    Playground(model="eb-4").run(HELLO, stream=True)
    transport = http_client.client()._transport
    assert isinstance(transport, http_client._Transport)
    # The collector may run where the pool's lock is held; it must not need it.
    pool = transport._pools["", False]
    collection = threading.Thread(target=gc.collect)
    with pool._optional_thread_lock:
        collection.start()
        collection.join(10)
        assert not collection.is_alive()
    gateway.wait_for_left()
    assert ask() == "你好"
    assert [connection.is_closed() for connection in pool.connections if not connection.is_idle()] == []
