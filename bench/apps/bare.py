"""Flask by hand, without this product: what a developer would write who needs nothing but the answers."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from flask import Flask, Response, request

from bench.apps import text

TABLE = """
CREATE TABLE IF NOT EXISTS messages (
    id VARCHAR(36) PRIMARY KEY, session_id VARCHAR(36), request_id VARCHAR(36), message_key VARCHAR(128),
    message_value JSON, created_at DATETIME, updated_at DATETIME, deleted BOOLEAN)
"""
INDEX = "CREATE INDEX IF NOT EXISTS newest ON messages (session_id, message_key, created_at)"
NEWEST = (
    "SELECT message_value FROM messages WHERE session_id = ? AND message_key = ? AND deleted = 0 "
    "ORDER BY created_at DESC LIMIT 1"
)
INSERT = "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, 0)"

app = Flask(__name__)
here = threading.local()
writing = threading.Lock()


def envelope(session_id: str, content: str, **result: Any) -> dict[str, Any]:
    """The answer in the shape of POST /chat."""
    message = {"content": content, "name": "msg", "mtype": "str", "id": str(uuid4())}
    result = {"session_id": session_id, **result, "answer_message": message}
    return {"code": 0, "message": "", "result": result}


def echo() -> dict[str, Any]:
    data = request.get_json()
    return envelope(data["session_id"], data["message"])


def tokens() -> Response:
    data = request.get_json()

    def events() -> Iterator[str]:
        for piece in text.pieces(data["count"], data["delay"]):
            yield event(data["session_id"], piece, is_completion=False)
        yield event(data["session_id"], "", is_completion=True)

    return Response(events(), content_type="text/event-stream; charset=utf-8")


def event(session_id: str, piece: str, *, is_completion: bool) -> str:
    body = envelope(session_id, piece, is_completion=is_completion)
    return "data: " + json.dumps(body, ensure_ascii=False) + "\n\n"


def history() -> dict[str, Any]:
    data = request.get_json()
    session_id, query = data["session_id"], data["message"]
    database = connection()
    last_query = newest(database, session_id, "query")
    last_answer = newest(database, session_id, "answer")
    answer = envelope(session_id, text.reply(query, last_query, last_answer))
    store(database, session_id, {"content": query, "name": "msg"}, answer["result"]["answer_message"])
    return answer


def connection() -> sqlite3.Connection:
    """One per thread or greenlet, durable as this product's is."""
    if not hasattr(here, "database"):
        here.database = sqlite3.connect("bench.db", timeout=10, isolation_level=None)
        here.database.execute("PRAGMA journal_mode=WAL")
        here.database.execute("PRAGMA synchronous=FULL")
    return here.database  # type: ignore[no-any-return]


def newest(database: sqlite3.Connection, session_id: str, key: str) -> str:
    row = database.execute(NEWEST, (session_id, key)).fetchone()
    return json.loads(row[0])["content"] if row else "-"


def store(
    database: sqlite3.Connection, session_id: str, query: dict[str, Any], answer: dict[str, Any]
) -> None:
    now, request_id = datetime.now(UTC).isoformat(" "), str(uuid4())
    rows = [
        (str(uuid4()), session_id, request_id, key, json.dumps(value, ensure_ascii=False), now, now)
        for key, value in (("query", query), ("answer", answer))
    ]
    with writing:  # SQLite has one writer; waiting here is far cheaper than SQLite's busy loop
        database.execute("BEGIN IMMEDIATE")
        database.executemany(INSERT, rows)
        database.execute("COMMIT")


VIEWS: dict[str, Callable[[], Any]] = {"echo": echo, "tokens": tokens, "history": history}
app.add_url_rule("/chat", "chat", VIEWS[os.environ["BENCH_APP"]], methods=["POST"])

if os.environ["BENCH_APP"] == "history":
    with sqlite3.connect("bench.db") as first:
        first.execute("PRAGMA journal_mode=WAL")
        first.execute(TABLE)
        first.execute(INDEX)
