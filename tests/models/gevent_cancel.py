"""Run by test_cancel in a process of its own: ``gevent_cancel.py first|late <model>``."""

from __future__ import annotations

import sys

WHEN, MODEL = sys.argv[1:]

if WHEN == "late":
    import httpx2  # noqa: F401
    import openai  # noqa: F401

    import appbuilder.models.gateway
    import appbuilder.models.http_client
    import appbuilder.models.openai

    early = appbuilder.models.http_client.client()

from gevent import monkey  # noqa: E402

monkey.patch_all()

import contextvars  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import gevent.event  # noqa: E402

from appbuilder import Message, Playground  # noqa: E402
from appbuilder.core.context import init_context  # noqa: E402
from appbuilder.errors import TurnCancelled  # noqa: E402

if WHEN == "late":
    # A client from before the patch is not used after it: its locks and TLS contexts are the unpatched ones.
    assert appbuilder.models.http_client.client() is not early


def cancelled_turn(stream: bool, from_a_thread: bool = False) -> None:
    """A turn in a greenlet, cancelled from another, or from a real thread."""
    begun: Any = gevent.event.AsyncResult()
    started = gevent.event.Event()

    def ask() -> float:
        begun.set(init_context("s", "r"))
        try:
            content = Playground(model=MODEL).run(Message("你好"), stream=stream).content
            for _ in content or ():
                started.set()
        except TurnCancelled:
            return time.monotonic()
        raise AssertionError("not cancelled")

    turn = gevent.spawn(contextvars.copy_context().run, ask)
    token = begun.get(timeout=10).cancel_token
    if stream:
        assert started.wait(10)
    else:
        gevent.sleep(0.3)  # until the request hangs; too short a sleep tests less, not wrongly
    at = time.monotonic()
    if from_a_thread:
        gevent.get_hub().threadpool.apply(token.cancel)
    else:
        token.cancel()
    assert turn.get(timeout=10) - at < 1.0


cancelled_turn(stream=True)
print("mid-stream")
cancelled_turn(stream=False)
print("before")
cancelled_turn(stream=True, from_a_thread=True)
print("from-a-thread")
