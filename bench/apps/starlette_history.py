"""The turn with history by hand: Starlette and sqlite3, with a writer that groups what waits into one commit.

What the product can reach at best: the same two look-ups and the same three rows, as durable, and nothing
else: no limits, no sessions that wait, no owners, no errors.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
import threading
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bench.apps import text

_TABLE = """
CREATE TABLE IF NOT EXISTS messages (id TEXT PRIMARY KEY, session_id TEXT, request_id TEXT, message_key TEXT,
  message_value TEXT, created_at REAL, updated_at REAL, deleted INTEGER)
"""
_INDEX = """
CREATE INDEX IF NOT EXISTS newest ON messages (session_id, message_key, created_at, id)
"""
_NEWEST = """
SELECT message_value FROM messages WHERE session_id = ? AND message_key = ? AND deleted = 0
ORDER BY created_at DESC, id DESC LIMIT 1
"""
_INSERT = "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, 0)"


def connection() -> sqlite3.Connection:
    """A connection as durable as the product's."""
    made = sqlite3.connect("bench.db", isolation_level=None, check_same_thread=False)
    made.execute("PRAGMA journal_mode=WAL")
    made.execute("PRAGMA synchronous=FULL")
    return made


def envelope(session_id: str, message: dict[str, Any]) -> dict[str, Any]:
    """The answer in the shape of POST /chat."""
    return {"code": 0, "message": "", "result": {"session_id": session_id, "answer_message": message}}


class Writer:
    """One thread that commits together what waits together."""

    def __init__(self) -> None:
        self._due: queue.SimpleQueue[tuple[Sequence[Any], asyncio.Future[None]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    async def write(self, rows: Sequence[Any]) -> None:
        """Returns when the rows are durable."""
        done = asyncio.get_running_loop().create_future()
        self._due.put((rows, done))
        await done

    def _run(self) -> None:
        writing = connection()
        writing.execute(_TABLE)
        writing.execute(_INDEX)
        while True:
            group = [self._due.get()]
            while not self._due.empty():
                group.append(self._due.get())
            writing.execute("BEGIN IMMEDIATE")
            for rows, _ in group:
                writing.executemany(_INSERT, rows)
            writing.execute("COMMIT")
            group[0][1].get_loop().call_soon_threadsafe(self._tell, [done for _, done in group])

    @staticmethod
    def _tell(done: Sequence[asyncio.Future[None]]) -> None:
        for each in done:
            if not each.done():
                each.set_result(None)


writer, reading = Writer(), connection()


def newest(session_id: str, key: str) -> str:
    """The content of the newest message under a key."""
    row = reading.execute(_NEWEST, (session_id, key)).fetchone()
    return "-" if row is None else str(json.loads(row[0])["content"])


async def history(request: Request) -> Response:
    data = await request.json()
    session_id, query, request_id = data["session_id"], data["message"], str(uuid4())
    answer = text.reply(query, newest(session_id, "query"), newest(session_id, "answer"))
    asked, answered = (
        {"content": each, "name": "msg", "mtype": "str", "id": str(uuid4())} for each in (query, answer)
    )
    turn = {"input": asked, "answer": answered, "state": "complete", "milliseconds": 1}
    now = time.time()
    rows = [
        (str(uuid4()), session_id, request_id, key, json.dumps(value, ensure_ascii=False), now, now)
        for key, value in (("query", asked), ("answer", answered), ("turn", turn))
    ]
    await writer.write(rows)
    return JSONResponse(envelope(session_id, answered))


async def health(request: Request) -> Response:
    return PlainTextResponse("ok")


app = Starlette(routes=[Route("/chat", history, methods=["POST"]), Route("/health", health)])
