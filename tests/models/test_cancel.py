"""A stopped turn breaks its model call off, wherever it waits, and the server sees the connection closed."""

from __future__ import annotations

import contextvars
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from appbuilder import Message, Playground, clock
from appbuilder.core.cancel import CancelToken
from appbuilder.core.context import SessionContext, init_context
from appbuilder.errors import TurnCancelled
from appbuilder.models import failures
from appbuilder.testing import GatewayDouble, OpenAIDouble, Reply

LIMIT = 1.0
Double = GatewayDouble | OpenAIDouble


class Turn:
    """A turn in a thread of its own that asks *model* and reads the answer."""

    def __init__(self, model: str, stream: bool) -> None:
        self.said: list[Any] = []
        self.error: BaseException | None = None
        self.ended = 0.0
        self.first = threading.Event()
        self._model, self._stream = model, stream
        self.context = contextvars.copy_context().run(self._begin)
        self._thread = threading.Thread(target=self._go)
        self._thread.start()

    def _begin(self) -> SessionContext:
        self._vars = contextvars.copy_context()
        return self._vars.run(init_context, "s", "r")

    def _go(self) -> None:
        try:
            self._vars.run(self._ask)
        except BaseException as error:
            self.error = error
        self.ended = clock.monotonic()

    def _ask(self) -> None:
        answer = Playground(model=self._model).run(Message("你好"), stream=self._stream)
        for piece in answer.content or ():
            self.said.append(piece)
            self.first.set()

    def stop(self) -> None:
        begun = clock.monotonic()
        self.context.cancel_token.cancel()
        self._thread.join(10)
        assert isinstance(self.error, TurnCancelled), self.error
        assert self.ended - begun < LIMIT


@pytest.fixture(params=["eb-4", "openai/m"])
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(model: str, request: pytest.FixtureRequest) -> Double:
    double = request.getfixturevalue("gateway" if model == "eb-4" else "openai_server")
    assert isinstance(double, (GatewayDouble, OpenAIDouble))
    return double


def test_in_the_middle_of_a_stream(model: str, server: Double) -> None:
    server.default = Reply(["一", "二"], silent_after=1)
    turn = Turn(model, stream=True)
    assert turn.first.wait(10)
    turn.stop()
    assert turn.said == ["一"]
    server.wait_for_left(timeout=LIMIT)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("warm", [False, True])
def test_before_the_answer(model: str, server: Double, stream: bool, warm: bool) -> None:
    if warm:  # then the call that hangs is on a pooled connection
        assert Playground(model=model).run(Message("你好")).content == "你好"
    server.default = Reply(hang=True)
    before = len(server.requests)
    turn = Turn(model, stream)
    server.wait_for_requests(before + (2 if model == "eb-4" and not warm else 1))
    turn.stop()
    server.wait_for_left(timeout=LIMIT)


def test_in_the_pause_before_another_try(
    model: str, server: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    pausing, wait = threading.Event(), failures._wait

    def noted(seconds: float, token: CancelToken | None) -> None:
        pausing.set()
        wait(seconds, token)

    monkeypatch.setattr(failures, "_wait", noted)
    assert Playground(model=model).run(Message("你好")).content == "你好"
    server.default = Reply(status=429, headers={"Retry-After": "4"})
    before = len(server.requests)
    turn = Turn(model, stream=False)
    assert pausing.wait(10)
    turn.stop()
    assert len(server.requests) == before + 1


def test_before_the_call(model: str, server: Double) -> None:
    def run() -> None:
        init_context("s", "r").cancel_token.cancel()
        with pytest.raises(TurnCancelled):
            Playground(model=model).run(Message("你好"))

    contextvars.copy_context().run(run)
    assert server.requests == []


def test_between_two_pieces(model: str, server: Double) -> None:
    def run() -> None:
        context = init_context("s", "r")
        content = Playground(model=model).run(Message("一二三四五"), stream=True).content
        assert content is not None
        assert next(content) == "一二"
        context.cancel_token.cancel()
        with pytest.raises(TurnCancelled):
            next(content)
        assert list(content) == []

    contextvars.copy_context().run(run)


def test_a_turn_that_is_over_does_not_touch_the_connection_it_used(
    model: str, server: Double
) -> None:
    def run() -> SessionContext:
        context = init_context("s", "r")
        assert Playground(model=model).run(Message("你好")).content == "你好"
        return context

    context = contextvars.copy_context().run(run)
    gate = threading.Event()
    server.reply(Reply(["一", "二"], gates={1: gate}))
    content = Playground(model=model).run(Message("你好"), stream=True).content
    assert content is not None
    assert next(content) == "一"
    context.cancel_token.cancel()
    gate.set()
    assert list(content) == ["二"]


@pytest.mark.parametrize("when", ["first", "late"])
def test_under_gevent(model: str, server: Double, when: str) -> None:
    """In greenlets, with the patch before our imports or after them, as gunicorn does with --preload."""
    assert server.address
    server.reply(Reply(["一", "二"], silent_after=1), Reply(hang=True), Reply(["一", "二"], silent_after=1))
    script = Path(__file__).parent / "gevent_cancel.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:Monkey-patching ssl", str(script), when, model],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["mid-stream", "before", "from-a-thread"]
    server.wait_for_left(3)
