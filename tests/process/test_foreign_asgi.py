"""``create_asgi_app()`` under servers of others: no turn is lost at SIGTERM."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
from tests.process.server import free_port, start
from tests.process.talk import words

PROGRAM = '''
import time
from appbuilder.runtime.service_runtime import ServiceRuntime

def answer(message: str, n: int):
    for number in range(n):
        yield f"{message}{number} "
        time.sleep(0.1)

app = ServiceRuntime(answer, "sqlite:///chat.db").create_asgi_app()
'''
SERVERS = {
    "uvicorn": ("uvicorn", "program:app", "--port", "{port}"),
    "gunicorn": ("gunicorn", "-k", "asgi", "-b", "127.0.0.1:{port}", "--no-control-socket", "program:app"),
    "granian": ("granian", "--interface", "asgi", "--port", "{port}", "program:app"),
}


@pytest.mark.parametrize("server", SERVERS)
def test_running_turns_finish_or_are_marked_at_sigterm(server: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    port = free_port()
    command = [sys.executable, "-m", *(part.format(port=port) for part in SERVERS[server])]
    env = {"APPBUILDER_PAGE": "false", "APPBUILDER_DRAIN_TIMEOUT": "3"}
    with start(tmp_path, command, port=port, env=env) as running:
        with (
            running.stream("a", n=10, session_id="short") as short,
            running.stream("b", n=1000, session_id="endless") as endless,
        ):
            next(short)
            next(endless)
            running.signal(signal.SIGTERM)
            assert short.texts == words("a", 10)[1:]
            *_, last = endless
        assert (last["code"], last["result"]) == (503, None)
        assert running.wait() in (0, -signal.SIGTERM)
    assert states(tmp_path) == {"short": "complete", "endless": "incomplete"}


def states(folder: Path) -> dict[str, str]:
    """Of each session's only turn."""
    asked = "SELECT session_id, message_value FROM appbuilder_session_messages WHERE message_key = ?"
    with contextlib.closing(sqlite3.connect(folder / "chat.db")) as connection:
        rows = connection.execute(asked, ("_appbuilder.turn",))
        return {session: json.loads(value)["state"] for session, value in rows}
