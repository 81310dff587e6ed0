"""The programs of ``tests.process.apps`` as server processes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tests.process import rawhttp
from tests.process.server import Server, start
from tests.process.server import children as children_of

_T = TypeVar("_T")

ROOT = Path(__file__).parents[2]
APPS = "tests.process.apps"
BOTH = ("gthread", "gevent")
SERVICE = "service"
DOORS = (*BOTH, SERVICE)
"""What a program is served by: FlaskRuntime under gunicorn's workers, or the service."""


def settings(folder: Path, **given: str) -> dict[str, str]:
    """Environment of a server: DATABASE (by default SQLite in *folder*), the others ``APPBUILDER_``."""
    foreign = ("DATABASE", "GATEWAY_URL", "OPENAI_", "SERVE_", "MODEL_NAME", "STAGE")
    named = {name if name.startswith(foreign) else f"APPBUILDER_{name}": value
             for name, value in given.items()}
    plain = {"APPBUILDER_PAGE": "false"}  # to start quickly; only the service has one
    database = named.pop("DATABASE", f"sqlite:///{folder}/chat.db")
    places = {"DATABASE": database, "APPBUILDER_DATABASE": database, "PYTHONPATH": f"{ROOT}:{ROOT}/src"}
    return {**places, **plain, **named}


def command(program: str, port: int, worker: str, *options: str, threads: int = 64) -> list[str]:
    """gunicorn with one worker, or the service."""
    if worker == SERVICE:
        return [sys.executable, "-m", f"{APPS}.serviced", program]
    return [
        sys.executable, "-m", "gunicorn", "--no-control-socket", "-b", f"127.0.0.1:{port}", "-k", worker,
        "--threads", str(threads), "--graceful-timeout", "10", "--backlog", "2048", "--log-level", "warning",
        *options, f"{APPS}.{program}:app()",
    ]


def serve(program: str, folder: Path, worker: str = "gthread", *options: str, **given: str) -> Server:
    """gunicorn with one worker, or the service, in a folder of its own within *folder*."""
    port = free_port()
    made = command(program, port, worker, *options)
    server = start(folder, made, port=port, env=settings(folder, **given))
    server.kind = worker
    return server


def serve_command(target: str, port: int, *options: str) -> list[str]:
    """``appbuilder serve``."""
    verb = "from appbuilder.cli.main import main; main()"
    return [sys.executable, "-c", verb, "serve", target, "--port", str(port), *options]


def serve_target(target: str, folder: Path, *options: str, **given: str) -> Server:
    """``appbuilder serve`` in *folder*, with no page unless *given* asks for it."""
    port = free_port()
    return start(folder, serve_command(target, port, *options), port=port, env=settings(folder, **given))


def run_program(program: str, folder: Path, **given: str) -> Server:
    """A program that serves itself, on the port in its environment."""
    return start(
        folder, [sys.executable, "-m", f"{APPS}.{program}"], port=free_port(), env=settings(folder, **given)
    )


def probe(server: Server, mark: str = "") -> Any:
    """What the component has seen under *mark*."""
    return rawhttp.get(server.port, f"/probe?mark={mark}").json


def free_port() -> int:
    """A port outside of the range the kernel gives to outgoing connections: free after a restart, too."""
    for port in range(20000 + 97 * os.getpid() % 10000, 32000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no port is free")


def children(server: Server) -> list[int]:
    """Process ids of the processes that *server* has started: gunicorn's workers, or the service's."""
    return children_of(server.process.pid)


def workers(server: Server) -> list[int]:
    """Process ids of those that run turns: its children, or itself."""
    return children(server) or [server.process.pid]


def resident(pid: int) -> int:
    """Bytes of memory the process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def eventually(holds: Callable[[], _T], timeout: float = 10.0) -> _T:
    """The first true value of *holds()*: for what a server does after its answer."""
    deadline = time.monotonic() + timeout
    while not (value := holds()):
        assert time.monotonic() < deadline, f"not within {timeout} s; last seen: {value!r}"
        time.sleep(0.01)
    return value


def rows(database: str, where: str = "1 = 1", **values: Any) -> list[Mapping[str, Any]]:
    """The stored rows in the contract's order, ``message_value`` read."""
    from sqlalchemy import create_engine, pool, text

    from appbuilder.store.databases import urls

    engine = create_engine(urls.parse(database), poolclass=pool.NullPool)
    sql = f"SELECT * FROM appbuilder_session_messages WHERE {where} ORDER BY created_at, id"
    with engine.connect() as connection:
        found = [dict(row) for row in connection.execute(text(sql), values).mappings()]
    for row in found:
        if isinstance(row["message_value"], str):
            row["message_value"] = json.loads(row["message_value"])
    return found  # type: ignore[return-value]


def appended(database: str, where: str = "1 = 1", **values: Any) -> list[Mapping[str, Any]]:
    """Those of :func:`rows` that the component appended; the service keeps rows of its own beside them."""
    found = rows(database, where, **values)
    return [row for row in found if not row["message_key"].startswith("_appbuilder.")]
