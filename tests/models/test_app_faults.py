"""AppBuilderClient when things go wrong: errors, time-outs, cut and malformed answers, cancellation, logs."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpcore2
import pytest

from appbuilder import AppBuilderClient, clock, describe_apps
from appbuilder.core.context import SessionContext, init_context
from appbuilder.errors import (
    AppBuilderError,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
    TurnCancelled,
)
from appbuilder.models.network import InterruptibleBackend
from appbuilder.testing import AppDouble, AppReply, Reply

LIMIT = 1.0
SECRET = "我的银行卡密码是一二三四五六"
Call = Callable[[AppBuilderClient, str, Path], Any]
CALLS: dict[str, Call] = {
    "conversation": lambda client, conversation, file: client.create_conversation(),
    "upload": lambda client, conversation, file: client.upload_local_file(conversation, str(file)),
    "run": lambda client, conversation, file: client.run(conversation, SECRET),
    "stream": lambda client, conversation, file: list(
        client.run(conversation, SECRET, stream=True).content
    ),
    "feedback": lambda client, conversation, file: client.feedback(
        conversation, "m", "upvote", reason=SECRET
    ),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / f"{SECRET}.txt"
    path.write_text(SECRET)
    return path


@pytest.fixture(params=sorted(CALLS))
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def call(app_server: AppDouble, file: Path, place: str) -> Callable[[], Any]:
    """One call of each kind, with a conversation that is there."""
    client = AppBuilderClient("app-1")
    conversation = client.create_conversation()
    app_server.requests.clear()
    return lambda: CALLS[place](client, conversation, file)


def script(app_server: AppDouble, place: str, *replies: Reply) -> None:
    app_server.reply(*replies, to="run" if place == "stream" else place)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(status=400, error=("InvalidArgument", "bad")), ModelRejected),
        (Reply(status=401, error=("InvalidToken", "bad")), ModelRejected),
        (Reply(status=404, error=("NotFound", "bad")), ModelRejected),
        (Reply(status=302, headers={"Location": "http://127.0.0.1:9/"}), ModelRejected),
        (Reply(status=429, error=("4", "bad"), headers={"Retry-After": "7"}), RateLimited),
        (Reply(status=500, error=("InternalError", "bad")), ModelUnavailable),
        (Reply(status=503, error=("Busy", "bad"), headers={"Retry-After": "0"}), ModelUnavailable),
        (Reply(status=504, error=("Slow", "bad")), ModelTimeout),
        (Reply(raw=b'{"code": "X", "message": "bad", "requestId": "r"}'), ModelRejected),
        (Reply(raw=b"[1]"), ModelUnavailable),
    ],
)
def test_errors_are_told_and_nothing_is_sent_twice(
    app_server: AppDouble, call: Callable[[], Any], place: str, reply: Reply, kind: type[AppBuilderError]
) -> None:
    if place == "stream" and reply.raw:
        reply = Reply(raw=b"data: " + reply.raw + b"\n\n")
    script(app_server, place, reply)
    with pytest.raises(kind) as raised:
        call()
    assert len(app_server.requests) == 1
    assert "model server" not in str(raised.value)
    if kind is RateLimited:
        assert raised.value.retry_after == 7  # type: ignore[attr-defined]
    elif not reply.raw:
        assert raised.value.request_id  # type: ignore[attr-defined]
    if kind is ModelRejected and reply.status == 400:
        assert raised.value.code == "InvalidArgument"  # type: ignore[attr-defined]


def test_an_error_of_a_streamed_call_may_come_as_plain_json(app_server: AppDouble) -> None:
    app_server.reply(Reply(raw=b'{"code": "X", "message": "bad", "requestId": "r-2"}'))
    with pytest.raises(ModelRejected) as raised:
        AppBuilderClient("app-1").run("conv-1", "q", stream=True)
    assert (raised.value.code, raised.value.request_id) == ("X", "r-2")


@pytest.mark.parametrize("place", ["conversation", "upload"], indirect=True)
@pytest.mark.parametrize(
    "told", ["{}", '{"conversation_id": null, "id": ""}', '{"conversation_id": 5, "id": []}']
)
def test_an_answer_without_an_id(
    app_server: AppDouble, call: Callable[[], Any], place: str, told: str
) -> None:
    script(app_server, place, Reply(raw=told.encode(), headers={"X-Appbuilder-Request-Id": "r-1"}))
    with pytest.raises(ModelUnavailable, match="has no") as raised:
        call()
    assert raised.value.request_id == "r-1"


def test_what_only_asks_is_asked_again(app_server: AppDouble) -> None:
    app_server.reply(Reply(status=503), Reply(status=429), to="apps")
    assert [app.id for app in describe_apps()] == ["app-1"]
    assert len(app_server.requests) == 3


def test_a_connection_that_could_not_be_made_is_tried_again(
    app_server: AppDouble, file: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = AppBuilderClient("app-1")
    conversation = client.create_conversation()
    connect = InterruptibleBackend.connect_tcp
    tries = iter((httpcore2.ConnectError, httpcore2.ConnectTimeout))

    def flaky(*arguments: Any, **options: Any) -> Any:
        error = next(tries, None)
        if error is not None:
            raise error("")
        return connect(*arguments, **options)

    with AppDouble() as other:  # nobody is connected to it yet
        other.conversations = app_server.conversations
        client.gateway_v2 = other.address
        monkeypatch.setattr(InterruptibleBackend, "connect_tcp", flaky)
        assert CALLS[place](client, conversation, file)
        assert len(other.requests) == 1
    assert next(tries, None) is None


@pytest.mark.parametrize("reply", [Reply(hang=True), Reply(silent_after=0)])
def test_silence_is_not_waited_for(
    app_server: AppDouble, call: Callable[[], Any], place: str, reply: Reply,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if place not in ("run", "stream"):
        reply = Reply(hang=True)
    monkeypatch.setenv("APPBUILDER_MODEL_TIMEOUT", "0.2")
    script(app_server, place, reply)
    with pytest.raises(ModelTimeout):
        call()
    assert len(app_server.requests) == 1
    app_server.wait_for_left()


def test_a_run_may_have_a_time_out_of_its_own(app_server: AppDouble) -> None:
    client = AppBuilderClient("app-1")
    app_server.reply(AppReply(["一"], silent_after=2))
    content = client.run(client.create_conversation(), "q", stream=True, timeout=1).content
    assert [next(content).answer, next(content).answer] == ["", "一"]
    with pytest.raises(ModelTimeout):
        next(content)
    assert list(content) == []


@pytest.mark.parametrize(
    "reply",
    [
        AppReply(["一"], cut_after=2),
        AppReply(["一"], unfinished=True),
        AppReply(["一"], error_after=2),
    ],
)
def test_a_stream_that_ends_too_early(app_server: AppDouble, reply: AppReply) -> None:
    client = AppBuilderClient("app-1")
    app_server.reply(reply)
    content = client.run(client.create_conversation(), "q", stream=True).content
    assert [next(content).answer, next(content).answer] == ["", "一"]
    with pytest.raises(ModelUnavailable):
        next(content)
    assert list(content) == []
    assert len(app_server.runs) == 1


def test_a_run_that_waits_for_a_tool_has_ended_in_order(app_server: AppDouble) -> None:
    client = AppBuilderClient("app-1")
    app_server.reply(AppReply(tool_calls=[("f", {})]))
    *_, last = client.run(client.create_conversation(), "q", stream=True).content
    assert (last.is_completion, last.events[-1].status) == (False, "interrupt")


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b'{"answer": 5}',
        b"data: {\n\n",
        b"data: 5\n\n",
        b"data: \xff\n\n",
        b'data: {"answer": []}\n\n',
        b'data: {"answer": "", "content": 5}\n\n',
        b'data: {"answer": "", "content": ["x"]}\n\n',
        b'data: {"answer": "", "content": [{"outputs": "x"}]}\n\n',
        b'data: {"answer": "", "content": [{"tool_calls": [{}]}]}\n\n',
    ],
)
def test_malformed_streams(app_server: AppDouble, raw: bytes) -> None:
    app_server.reply(Reply(raw=raw))
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        list(AppBuilderClient("app-1").run("conv-1", "q", stream=True).content)
    assert len(app_server.runs) == 1


class Turn:
    """*work* as a turn in a thread of its own."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.error: BaseException | None = None
        self.ended = 0.0
        self._vars = contextvars.copy_context()
        self.context: SessionContext = self._vars.run(init_context, "s", "r")
        self._thread = threading.Thread(target=self._go, args=(work,))
        self._thread.start()

    def _go(self, work: Callable[[], Any]) -> None:
        try:
            self._vars.run(work)
        except BaseException as error:
            self.error = error
        self.ended = clock.monotonic()

    def stop(self) -> None:
        begun = clock.monotonic()
        self.context.cancel_token.cancel()
        self._thread.join(10)
        assert isinstance(self.error, TurnCancelled), self.error
        assert self.ended - begun < LIMIT


def test_a_stopped_turn_breaks_its_call_off(
    app_server: AppDouble, call: Callable[[], Any], place: str
) -> None:
    script(app_server, place, Reply(hang=True))
    turn = Turn(call)
    app_server.wait_for_requests(1)
    turn.stop()
    app_server.wait_for_left(timeout=LIMIT)
    assert len(app_server.requests) == 1


def test_a_turn_stopped_in_the_middle_of_a_stream(app_server: AppDouble) -> None:
    client = AppBuilderClient("app-1")
    conversation = client.create_conversation()
    app_server.reply(AppReply(["一", "二"], silent_after=2))
    first = threading.Event()

    def work() -> None:
        for answer in client.run(conversation, "q", stream=True).content:
            if answer.answer:
                first.set()

    turn = Turn(work)
    assert first.wait(10)
    turn.stop()
    app_server.wait_for_left(timeout=LIMIT)


def test_a_stream_nobody_reads_any_more_is_closed(app_server: AppDouble) -> None:
    client = AppBuilderClient("app-1")
    app_server.reply(AppReply(["一", "二"], silent_after=2))
    message = client.run(client.create_conversation(), "q", stream=True)
    next(message.content)
    next(message.content)
    message.content.close()
    app_server.wait_for_left()
    assert message.content.answer == "一"


def test_users_words_and_tokens_stay_out_of_the_log(
    app_server: AppDouble, call: Callable[[], Any], place: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    # To begin a conversation says nothing of the user's.
    secrets = ["bce-v3/ALTAK", *([] if place == "conversation" else [SECRET])]
    script(app_server, place, Reply(status=400, error=("Bad", f"no: {secrets} of bce-v3/ALTAK-x/y")))
    with pytest.raises(ModelRejected) as raised:
        call()
    logging.getLogger("appbuilder").error("told", exc_info=raised.value)
    assert "ModelRejected" in caplog.text
    assert [secret for secret in secrets if secret in caplog.text] == []
