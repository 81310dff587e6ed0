"""A component for the tests of servers, as the source of a program, and the ways to serve it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.process.server import Server, start_program

COMPONENT = '''
import os, resource, time
from appbuilder import Component, Message, UserSession
from appbuilder.utils.flask_deploy import FlaskRuntime

closed = []

class Talk(Component):
    """Says *n* pieces, *wait* seconds apart; *hang* is a call that does not listen to anybody."""

    def run(self, message, stream=False, n=3, wait=0.0, hang=0.0, size=0):
        session = UserSession()
        session.append({"query": message})
        if message.content == "closed?":
            return Message(list(closed))
        if message.content == "memory?":
            return Message(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        if message.content == "process?":
            return Message(os.getpid())
        if message.content == "history?":
            return Message([old.content for old in session.get_history("query")])
        pieces = self.pieces(message.content, n, wait, hang, size)
        answer = Message(pieces if stream else "".join(pieces))
        session.append({"answer": answer})
        return answer

    def pieces(self, text, n, wait, hang, size):
        try:
            for number in range(n):
                yield f"{text}{number} " + "x" * size
                time.sleep(wait)
                time.sleep(hang)
        finally:
            closed.append(text)

runtime = FlaskRuntime(Talk(), os.environ.get("DATABASE", "sqlite:///talk.db"))
port = int(os.environ["PORT"])
'''

SERVE = COMPONENT + 'runtime.serve(host="127.0.0.1", port=port, debug=False)\n'

IN_A_LOOP = COMPONENT + '''
import asyncio

async def main():
    runtime.serve(host="127.0.0.1", port=port, debug=False)

asyncio.run(main())
'''

APP = COMPONENT.replace('port = int(os.environ["PORT"])', "app = runtime.create_flask_app()")

KINDS = ("gthread", "gevent", "threaded")


def serve(folder: Path, kind: str, **env: str) -> Server:
    """The component behind ``serve(debug=False)``: on gunicorn's workers, or the threaded server."""
    source = IN_A_LOOP if kind == "threaded" else SERVE
    own = {} if kind == "threaded" else {"APPBUILDER_WORKER_CLASS": kind}
    return start_program(folder, source, env={"APPBUILDER_HEARTBEAT": "0.2", **own, **env})


def words(text: str, n: int) -> list[str]:
    """What the component says, and the empty content of the last event."""
    return [*(f"{text}{number} " for number in range(n)), ""]


def until(condition: Callable[[], Any], timeout: float = 15) -> Any:
    """Waits for a condition of another process, which has no event to wait for."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def rows(folder: Path, key: str) -> list[Any]:
    """Content and state of the rows under *key*, in order."""
    with sqlite3.connect(folder / "talk.db") as database:
        found = database.execute(
            "SELECT json_extract(message_value, '$.content'), json_extract(message_value, '$.state')"
            " FROM appbuilder_session_messages WHERE message_key = ? ORDER BY created_at, id",
            (key,),
        ).fetchall()
    database.close()
    return found
