"""Looks into the contenders' answers."""

from __future__ import annotations

from typing import Any

import orjson

from bench.apps import text
from bench.client import Failure


def message_of(status: int, body: bytes) -> str:
    """The content of a whole answer.

    :raises Failure: it is not one; the SDK sends errors with status 200, too.
    """
    return str(_result(status, body)["answer_message"].get("content"))


def stream_of(pieces: int) -> Any:
    """A check for streams of *pieces* pieces: all of them, in order, and one last event."""
    wanted = list(text.pieces(pieces, 0))

    def check(status: int, body: bytes) -> None:
        events = [line[len(b"data:") :] for line in body.split(b"\n") if line.startswith(b"data:")]
        results = [_result(status, event) for event in events]
        if not results or not results[-1]["is_completion"]:
            raise Failure("stream without an end")
        if any(result["is_completion"] for result in results[:-1]):
            raise Failure("stream with two ends")
        if [result["answer_message"]["content"] for result in results[:-1]] != wanted:
            raise Failure("stream with other pieces")

    return check


def _result(status: int, body: bytes) -> dict[str, Any]:
    if status != 200:
        raise Failure(f"status {status}")
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Failure("not JSON") from None
    if data["code"] != 0:
        raise Failure("an error with status 200")
    return data["result"]  # type: ignore[no-any-return]
