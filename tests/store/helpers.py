"""Turns, rows and locks, briefly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

from appbuilder.core.cancel import CancelToken
from appbuilder.core.locks import SessionLock
from appbuilder.core.store import COMPLETE, SessionStore, TurnEntry, TurnRecord
from appbuilder.errors import SessionBusy
from appbuilder.ids import new_id
from appbuilder.store.databases.urls import parse
from appbuilder.store.sessions.session_store import SqlStore


def turn(session_id: str, *rows: tuple[str, Any], **extra: Any) -> TurnRecord:
    """A turn of (key, content) rows; *extra* goes into each message."""
    return TurnRecord(session_id, new_id(), [(key, {"content": content, **extra}) for key, content in rows])


def entry_turn(
    session_id: str, owner: str, title: str, *rows: tuple[str, Any], row_id: str = "", **value: Any
) -> TurnRecord:
    """A turn of the chat page."""
    entry = TurnEntry(row_id or new_id(), owner, title, {"state": COMPLETE, **value})
    return replace(turn(session_id, *rows), entry=entry)


def add(store: SessionStore, session_id: str, content: Any, **extra: Any) -> None:
    """One turn with a query and an answer."""
    store.commit(turn(session_id, ("query", content), ("answer", content), **extra))


def contents(store: SessionStore, session_id: str, key: str = "query", limit: int = 10**9) -> list[Any]:
    return [each["content"] for each in store.history(session_id, key, limit)]


def take(
    store: SqlStore, session_id: str, timeout: float = 30.0, token: CancelToken | None = None
) -> SessionLock:
    """As the engine takes one."""
    locks = store.session_locks()
    return locks.try_acquire(session_id) or locks.acquire(session_id, timeout, token or CancelToken())


def is_free(store: SqlStore, session_id: str) -> bool:
    try:
        take(store, session_id, 0.0).release()
    except SessionBusy:
        return False
    return True


def fetch(url: URL | str, sql: str, **values: Any) -> Sequence[Any]:
    """What another program reads in the database."""
    engine = create_engine(parse(url))
    try:
        with engine.connect() as connection:
            return connection.execute(text(sql), values).all()
    finally:
        engine.dispose()


def execute(url: URL | str, *statements: str) -> None:
    """What another program does in the database."""
    engine = create_engine(parse(url))
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
    finally:
        engine.dispose()


def show(url: URL | str) -> str:
    """The URL for a child process."""
    return parse(url).render_as_string(hide_password=False)


def child(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Another process that runs *code*, with the arguments in sys.argv."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str], timeout: float = 60) -> str:
    """The output of a child that must end well."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err[-3000:]
    return out
