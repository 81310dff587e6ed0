"""Sessions, their turns and runs as the service's own routes tell them; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from appbuilder import jsontext
from appbuilder.core.conversations import Conversation, Rating
from appbuilder.core.runs import LiveRun
from appbuilder.core.store import COMPLETE, FAILED, INCOMPLETE
from appbuilder.protocols.rest.transcript import TurnView

_STATES = (COMPLETE, INCOMPLETE, FAILED)

Members = dict[str, Any]


def envelope(result: Any) -> Members:
    """An answer that tells *result*."""
    return {"code": 0, "message": "", "result": result}


def session(listed: Conversation) -> Members:
    """A session, without what was said in it."""
    return {
        "session_id": listed.session_id,
        "owner": listed.owner,
        "title": listed.title,
        "created_at": time(listed.created_at),
        "updated_at": time(listed.updated_at),
    }


def session_with_turns(
    listed: Conversation, turns: Sequence[TurnView], ratings: Mapping[str, Rating], cursor: str | None
) -> Iterator[bytes]:
    """The answer that tells a session and some of its turns, in parts, one a turn.

    :param cursor: of earlier turns.
    """
    yield jsontext.dumps(envelope(session(listed)))[:-2] + b',"turns":['
    comma = b""
    for each in turns:
        yield comma + jsontext.dumps(turn(each, ratings.get(each.id)))
        comma = b","
    yield b'],"next":' + jsontext.dumps(cursor) + b"}}"


def turn(said: TurnView, rating: Rating | None) -> Members:
    """One turn of a session."""
    return {
        "id": said.id,
        "request_id": said.request_id,
        "created_at": time(said.created_at),
        "milliseconds": said.milliseconds,
        "state": said.state if said.state in _STATES else COMPLETE,
        "input": said.input,
        "answer": said.answer,
        "token_usage": dict(said.usage),
        "error": _error(said.error),
        "rating": None if rating is None else rated(rating),
    }


def rated(rating: Rating) -> Members:
    """What a reader thinks of an answer."""
    return {"good": rating.good, "comment": rating.comment}


def run(live: LiveRun) -> Members:
    """A run under way."""
    return {
        "id": live.id,
        "session_id": live.session_id,
        "request_id": live.request_id,
        "owner": live.owner,
        "started_at": time(live.started_at),
        "state": live.state,
        "worker": live.worker,
        "pieces": live.pieces,
    }


def time(at: datetime) -> str:
    """A UTC time without a zone, as JSON has it."""
    return at.isoformat(timespec="microseconds") + "Z"


def _error(error: Mapping[str, Any]) -> Members | None:
    if not error:
        return None
    return {"kind": str(error.get("kind") or ""), "text": str(error.get("text") or "")}
