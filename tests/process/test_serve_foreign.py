"""``create_flask_app()`` under gunicorn's own command line."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL
from tests.process.server import Server, start_gunicorn, start_program
from tests.process.talk import APP, rows, until, words
from tests.services.fixtures import empty_database

from appbuilder.store.databases.urls import parse

GTHREAD = ("-k", "gthread", "--threads", "64")
GEVENT = ("-k", "gevent")
WAYS = [
    pytest.param((*worker, *preload), id=" ".join((worker[1], *preload)))
    for worker in (GTHREAD, GEVENT)
    for preload in ((), ("--preload",))
]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        *((way.values[0], "sqlite") for way in WAYS),
        ((*GEVENT, "--preload"), "postgresql"),
        (GTHREAD, "postgresql"),
        ((*GEVENT, "--preload"), "mariadb"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[1::2]),
)
def test_two_workers_on_one_database(
    options: tuple[str, ...], kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database_url = empty_database(request, kind, tmp_path)
    database = database_url.render_as_string(hide_password=False)
    with start_gunicorn(tmp_path, APP, "-w", "2", *options, env={"DATABASE": database}) as server:
        _both_workers(server)

        def conversation(number: int) -> list[str]:
            session = f"session {number}"
            for turn in range(3):
                said = f"{number}.{turn} "
                if turn % 2:
                    assert server.chat(said, session_id=session, n=2).content == f"{said}0 {said}1 "
                else:
                    with server.stream(said, session_id=session, n=20, wait=0.001) as events:
                        assert events.texts == words(said, 20)
            found: list[str] = server.chat("history?", session_id=session).content
            return found

        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(conversation, range(32)))
        assert found == [[f"{number}.{turn} " for turn in range(3)] for number in range(32)]
        assert "Traceback" not in server.log
        assert server.terminate() == 0
    assert _answers(database_url) == 32 * 3


@pytest.mark.parametrize("options", WAYS[::3])
def test_running_turns_finish_after_sigterm(options: tuple[str, ...], tmp_path: Path) -> None:
    env = {"APPBUILDER_ON_DISCONNECT": "continue", "APPBUILDER_HEARTBEAT": "0.2"}
    with start_gunicorn(tmp_path, APP, *options, env=env) as server:
        with server.stream("without a reader", n=20, wait=0.1) as events:
            next(events)
        with server.stream("a", n=10, wait=0.1) as events:
            next(events)
            server.signal(signal.SIGTERM)
            assert events.texts == words("a", 10)[1:]
        assert server.wait() == 0
    # The second had no connection left: the process waited for it before it ended.
    whole = {("".join(words(said, n)), None) for said, n in (("a", 10), ("without a reader", 20))}
    assert set(rows(tmp_path, "answer")) == whole


@pytest.mark.parametrize("options", WAYS[::3])
def test_who_leaves_ends_the_turn(options: tuple[str, ...], tmp_path: Path) -> None:
    with start_gunicorn(tmp_path, APP, *options, env={"APPBUILDER_HEARTBEAT": "0.2"}) as server:
        for how in ("FIN", "RST"):
            with server.stream(how, n=10_000, wait=0.05) as events:
                next(events)
                if how == "RST":
                    events.reset()
            until(partial(_closed, server, how))
        until(lambda: len(rows(tmp_path, "answer")) == 2)
        assert [state for _, state in rows(tmp_path, "answer")] == ["incomplete"] * 2
        assert "Traceback" not in server.log


TLS = """
import requests, urllib3
from urllib3.util.ssl_ import create_urllib3_context
""" + APP + """
class Context(Talk):
    def run(self, message, stream=False):
        return Message(create_urllib3_context().verify_mode.name)

runtime = FlaskRuntime(Context(), "sqlite:///talk.db")
"""


@pytest.mark.parametrize("way", ["--preload", "serve"])
def test_tls_works_where_gevent_patched_late(way: str, tmp_path: Path) -> None:
    if way == "serve":
        source = TLS.replace("app = runtime.create_flask_app()", "port = int(os.environ['PORT'])")
        source += "runtime.serve(host='127.0.0.1', port=port, debug=False)\n"
        server = start_program(tmp_path, source, env={"APPBUILDER_WORKER_CLASS": "gevent"})
    else:
        source = TLS + "app = runtime.create_flask_app()\n"
        server = start_gunicorn(tmp_path, source, *GEVENT, "--preload")
    with server:
        assert server.chat("a").content == "CERT_REQUIRED"


def test_a_turn_longer_than_gunicorns_patience_is_not_stored_as_whole(tmp_path: Path) -> None:
    with start_gunicorn(tmp_path, APP, *GTHREAD, "--graceful-timeout", "1") as server:
        with server.stream("a", n=100, wait=0.1) as events:
            next(events)
            server.signal(signal.SIGTERM)
            received = list(events)
        server.wait()
    assert not any(event["result"]["is_completion"] for event in received if event["result"])
    assert all(state == "incomplete" for _, state in rows(tmp_path, "answer"))


def _closed(server: Server, text: str) -> bool:
    return text in server.chat("closed?").content


def _both_workers(server: Server) -> None:
    """Waits for both: gunicorn forgets a signal that comes before a worker is ready for it."""
    seen: set[int] = set()
    deadline = time.monotonic() + 20
    while len(seen) < 2:
        seen.add(server.chat("process?").content)
        assert time.monotonic() < deadline


def _answers(database: URL) -> int:
    engine = create_engine(parse(database))
    query = "SELECT count(*) FROM appbuilder_session_messages WHERE message_key = 'answer'"
    with engine.connect() as connection:
        count = connection.execute(text(query)).scalar_one()
    engine.dispose()
    return int(count)
