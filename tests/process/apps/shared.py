"""A component whose turns tell of each other, for services of several processes: ``{"do": ..., ...}``."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

from appbuilder import Message, UserSession
from appbuilder.core.component import Component
from appbuilder.core.context import get_context

WAITS = 60.0
"""Seconds it waits at most for a file to be there."""


def held(*, deaf: bool) -> Iterator[str]:
    stopped = threading.Event()
    if not deaf:
        get_context().cancel_token.on_cancel(stopped.set)
    yield "a"
    stopped.wait(WAITS)


class Shared(Component):
    """``who``: tells its process's id. ``hold``: says "a", and no more until it is stopped; ``deaf``: not
    even then. ``count``: tells how many turns of the session were before it; where ``file`` is given, it
    waits until there is such a file."""

    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        do: Any = message.content
        if do["do"] == "who":
            return Message(os.getpid())
        if do["do"] == "hold":
            return Message(held(deaf=do.get("deaf", False)))
        session = UserSession()
        seen = len(session.get_history("n", limit=100_000))
        if "file" in do:
            open(f"{do['file']}.begun", "w").close()
            deadline = time.monotonic() + WAITS
            while not os.path.exists(do["file"]) and time.monotonic() < deadline:
                time.sleep(0.01)
        time.sleep(0.002)
        session.append({"n": Message(seen)})
        return Message(seen)
