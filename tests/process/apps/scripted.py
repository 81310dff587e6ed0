"""A component that does what the message says, and GET /probe that tells what was seen of it.

``{"do": <name of a method of Scripted>, "mark": <any name>, ...}``; a text is echoed. DATABASE is where it
keeps its conversations.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from flask import Flask, request

from appbuilder import Message, UserSession
from appbuilder.core.component import Component
from appbuilder.core.context import get_context
from appbuilder.utils.flask_deploy import FlaskRuntime

calls: Counter[str] = Counter()
running: Counter[str] = Counter()
overlaps: Counter[str] = Counter()
closed: Counter[str] = Counter()
steps: Counter[str] = Counter()
gates: dict[str, threading.Event] = {}


class Pieces(Iterator[str]):
    """Pieces at a pace; counts how often it is closed."""

    def __init__(self, pieces: list[Any], mark: str, pace: float, hold: bool, deaf: bool) -> None:
        self._left = iter(pieces)
        self._begun = False
        self._mark = mark
        self._pace = pace
        self._hold = hold
        self._deaf = deaf

    def __next__(self) -> Any:
        try:
            piece = next(self._left)
        except StopIteration:
            if self._hold:
                self._wait()
            raise
        if self._begun and self._pace:
            time.sleep(self._pace)
        self._begun = True
        steps[self._mark] += 1
        return piece

    def _wait(self) -> None:
        """Until the turn is not wanted any more; a deaf one does not learn it."""
        woken = threading.Event()
        if not self._deaf:
            get_context().cancel_token.on_cancel(woken.set)
        woken.wait(30)

    def close(self) -> None:
        closed[self._mark] += 1


class Opaque:
    def __repr__(self) -> str:
        return "<Opaque with what a user said>"


class OddCode(Exception):
    """Has a ``code`` that is no status, as gRPC's and gevent's errors have."""

    def __init__(self, text: str, code: Any) -> None:
        super().__init__(text)
        self.code = code


def raise_it(kind: str, text: str) -> None:
    if kind == "SystemExit":
        raise SystemExit(text)
    if kind == "RecursionError":
        return raise_it(kind, text)
    if kind == "BaseException":
        raise BaseException(text)
    if kind == "code200":
        raise OddCode(text, 200)
    if kind == "codefunction":
        raise OddCode(text, lambda: 404)
    if kind == "codetext":
        raise OddCode(text, "none")
    raise {"ValueError": ValueError, "KeyError": KeyError, "OSError": OSError, "MemoryError": MemoryError,
           "KeyboardInterrupt": KeyboardInterrupt, "GeneratorExit": GeneratorExit,
           "StopIteration": StopIteration, "AssertionError": AssertionError}[kind](text)


class Scripted(Component):
    """See the module."""

    def run(self, message: Message[Any], stream: bool = False, flavour: Any = "") -> Any:
        do = message.content if isinstance(message.content, dict) else {"do": "echo", "text": message.content}
        mark = str(do.get("mark", ""))
        calls[mark] += 1
        return getattr(self, str(do.get("do", "echo")))(do, mark, flavour)

    def echo(self, do: Any, mark: str, flavour: Any) -> Any:
        text = do.get("text", "")
        answer = Message(f"{text}{flavour}" if isinstance(text, str) else text)
        UserSession().append({"query": Message(do), "answer": answer})
        return answer

    def say(self, do: Any, mark: str, flavour: Any) -> Any:
        pieces = Pieces(do["pieces"], mark, do.get("pace", 0), do.get("hold", False), do.get("deaf", False))
        answer = Message(pieces)
        if do.get("keep", True):
            UserSession().append({"query": Message(mark), "answer": answer})
        return answer

    def many(self, do: Any, mark: str, flavour: Any) -> Any:
        return self.say({"pieces": [do["piece"]] * do["count"], **do}, mark, flavour)

    def odd(self, do: Any, mark: str, flavour: Any) -> Any:
        huge = "x" * 2_000_000
        pieces: list[Any] = [None, b"bytes\xff", "\n\ndata: {}\n\n", "\r", "\u2028\u2029", "\x00",
                             "\ud800", huge, {"a": [1, None]}, 7, Message("in a message"), ""]
        return self.say({"pieces": pieces}, mark, flavour)

    def count(self, do: Any, mark: str, flavour: Any) -> Any:
        session = UserSession()
        here = get_context().session_id
        running[here] += 1
        overlaps[here] += running[here] > 1
        seen = len(session.get_history("n", limit=100_000))
        time.sleep(do.get("pace", 0.002))
        running[here] -= 1
        session.append({"n": Message(seen), "mark": Message(mark)})
        return Message(seen)

    def history(self, do: Any, mark: str, flavour: Any) -> Any:
        found = UserSession().get_history(do["key"], limit=do.get("limit", 1000))
        return Message([message.content for message in found])

    def gate(self, do: Any, mark: str, flavour: Any) -> Any:
        gates.setdefault(mark, threading.Event()).wait(30)
        return self.echo(do, mark, flavour)

    def fail(self, do: Any, mark: str, flavour: Any) -> Any:
        UserSession().append({"query": Message(mark)})
        if do.get("times", 1_000_000) >= calls[mark]:
            raise_it(do["kind"], do.get("text", "secret-of-the-component"))
        return Message("recovered")

    def fail_inside(self, do: Any, mark: str, flavour: Any) -> Any:
        def pieces() -> Iterator[str]:
            yield from do.get("pieces", ())
            if do.get("times", 1_000_000) >= calls[mark]:
                raise_it(do["kind"], do.get("text", "secret-of-the-component"))
            yield "recovered"

        answer = Message(pieces())
        UserSession().append({"query": Message(mark), "attempt": Message(calls[mark]), "answer": answer})
        return answer

    def nothing(self, do: Any, mark: str, flavour: Any) -> Any:
        return None

    def unprintable(self, do: Any, mark: str, flavour: Any) -> Any:
        return Message({"set": {1}, "nan": float("nan"), "big": 2**80, "half": "\ud800"})

    def opaque(self, do: Any, mark: str, flavour: Any) -> Any:
        return Message({"object": Opaque()})

    def late(self, do: Any, mark: str, flavour: Any) -> Any:
        time.sleep(do["seconds"])
        return self.echo(do, mark, flavour)

    def spoil(self, do: Any, mark: str, flavour: Any) -> Any:
        # What programs written for the SDK's singleton do.
        UserSession._instance = None
        UserSession._initialized = False
        return self.echo(do, mark, flavour)


def with_probe(app: Flask) -> Flask:
    """Adds GET /probe?mark=... and GET /open?mark=..."""

    @app.get("/probe")
    def probe() -> Any:
        mark = request.args.get("mark", "")
        return {"calls": calls[mark], "all": sum(calls.values()), "closed": closed[mark],
                "steps": steps[mark], "overlaps": sum(overlaps.values()), "threads": threading.active_count()}

    @app.get("/open")
    def open_gate() -> Any:
        gates.setdefault(request.args["mark"], threading.Event()).set()
        return {}

    return app


def make() -> FlaskRuntime:
    return FlaskRuntime(Scripted(), os.environ["DATABASE"])


def app() -> Flask:
    """For gunicorn: ``tests.process.apps.scripted:app()``."""
    return with_probe(make().create_flask_app())
