"""The test's end of a puppet: each turn of the component is played by the test, piece by piece."""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any

from appbuilder import clock

PATIENCE = 20.0
"""Seconds until something that should happen counts as missing, on a machine that does other things too."""


class Turn:
    """One turn under way in the component. ``asks``, ``user``, ``query`` and ``answer``: see the puppet."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        self._connection = connection
        self._told = connection.makefile("rb")
        self.about: dict[str, Any] = json.loads(self._told.readline())

    @property
    def asks(self) -> str:
        """What the user said."""
        return str(self.about["asks"])

    def say(self, *pieces: str) -> Turn:
        """The component yields *pieces*."""
        for piece in pieces:
            self._command("say", piece)
        return self

    def end(self, words: str = "") -> None:
        """The answer has ended. *words* are for a component that says all at once."""
        self._command("end", words)

    def answer(self, *pieces: str) -> None:
        """The whole answer."""
        self.say(*pieces).end()

    def fail(self, words: str) -> None:
        """The component raises."""
        self._command("fail", words)

    def closed(self) -> float:
        """Waits until the component's iterator is closed; returns when that was.

        :raises TimeoutError, AssertionError: it was not.
        """
        line = self._told.readline()
        assert line, "the component's process went, and did not close the iterator"
        assert json.loads(line) == {"closed": True}
        return clock.monotonic()

    def leave(self) -> None:
        """Lets go of the puppet."""
        self._told.close()
        self._connection.close()

    def _command(self, command: str, words: str) -> None:
        self._connection.sendall(json.dumps([command, words]).encode() + b"\n")


class Stage:
    """Where puppets come to be played."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self._turns: list[Turn] = []
        self.port = int(self._listener.getsockname()[1])

    def turn(self, asked: str | None = None) -> Turn:
        """The next turn; where *asked* is given, it must be the one that asks this."""
        connection, _ = self._listener.accept()
        turn = Turn(connection)
        self._turns.append(turn)
        assert asked is None or turn.asks == asked, (turn.asks, asked)
        return turn

    def clear(self) -> None:
        """Lets go of all puppets, so that a test leaves no turn to the next one."""
        while self._turns:
            self._turns.pop().leave()

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
        self._listener.close()
