"""Looks into the contenders' streams."""

from __future__ import annotations

from typing import Any

from bench.apps import text
from bench.client import Failure
from bench.protocols import parse


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


def _result(status: int, event: bytes) -> dict[str, Any]:
    data = parse(status, event)
    if data["code"] != 0:
        raise Failure("an error with status 200")
    return data["result"]  # type: ignore[no-any-return]
