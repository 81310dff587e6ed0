"""POST /sessions/import: all of a file is looked at first, and a session that is in use is left alone."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from tests.memory_store import MemoryStore
from tests.unit.engines import Scripted
from tests.unit.service_client import Desk

from appbuilder.core.cancel import CancelToken
from appbuilder.core.conversations import FEEDBACK_KEY, Conversation, StoredRow
from appbuilder.core.message import Message
from appbuilder.engine.engine import Engine
from appbuilder.engine.persistence import RetentionPolicy
from appbuilder.engine.turn_request import TurnRequest
from appbuilder.errors import NotFound, SessionBusy
from appbuilder.ids import new_id
from appbuilder.protocols.rest import transcript
from appbuilder.settings import Settings

NOON = datetime(2026, 1, 2, 12)
QUERY = StoredRow("1", "r", "query", {"content": "x"}, NOON)
GOOD = b'{"messages": [{"role": "user", "content": "hello"}]}\n'
EMPTY = [b'{"messages": []}\n', b'{"messages": [{"role": "system", "content": "x"}]}\n']


def file_of(session_id: str, *rows: StoredRow) -> bytes:
    listed = Conversation(session_id, "user:ann", session_id, NOON, NOON)
    lines = [transcript.row_line(session_id, row) for row in rows]
    return b"".join([transcript.session_line(listed), *lines])


@pytest.fixture
def desk() -> Desk:
    return Desk()


def listed(desk: Desk, who: str = "ann") -> list[str]:
    return [each["session_id"] for each in desk.get("/sessions", who)["sessions"]]


@pytest.mark.parametrize("row", [
    StoredRow("2", "r", FEEDBACK_KEY, {"turn": "1"}, NOON),
    StoredRow("2", "r", FEEDBACK_KEY, "x", NOON),
], ids=["half a rating", "none"])
def test_what_cannot_be_stored_is_found_before_anything_is(desk: Desk, row: StoredRow) -> None:
    said = desk.bring_in(file_of("a", QUERY) + GOOD + file_of("b", QUERY, row), status=400)
    assert said == "Session 'b': A rating in the conversation is not valid."
    assert listed(desk) == []


def test_sessions_without_a_turn_are_left_out_and_counted(desk: Desk) -> None:
    """One that was deleted while it was exported; one in which nothing was said that is text."""
    told = desk.bring_in(file_of("gone") + file_of("s", QUERY) + b"".join(EMPTY))
    assert (told["imported"], told["empty"]) == ([{"session_id": "s", "rows": 1}], 3)
    for file in (*EMPTY, file_of("gone")):
        assert desk.bring_in(file, status=400) == "There is no turn in the file."
    desk.say("empty", "")
    told = desk.bring_in(desk.file("/sessions/export", format="openai"))
    assert (len(told["imported"]), told["empty"]) == (1, 1)


class Race:
    """Ann's first turn in a session, under way."""

    def __init__(self, desk: Desk) -> None:
        self.begun, self.goes_on = threading.Event(), threading.Event()
        self._engine = Engine(Scripted(self._answer), desk.store, Settings())
        keep = RetentionPolicy(new_id(), "user:ann", lambda error: {})
        self._run = self._engine.start(TurnRequest("mine", "s", keep=keep), on_disconnect="continue")
        assert self.begun.wait(10)

    def _answer(self, message: Message[Any], _stream: bool) -> Message[Any]:
        self.begun.set()
        assert self.goes_on.wait(10)
        return message

    def end(self) -> Any:
        self.goes_on.set()
        return self._run.log.wait_outcome()


def test_a_session_in_its_first_turn_cannot_be_taken_over(desk: Desk) -> None:
    race = Race(desk)
    assert "another message" in desk.bring_in(file_of("s", QUERY), "bob", 409)
    told = desk.bring_in(file_of("s", QUERY) + file_of("t", QUERY), "bob")
    assert ([each["session_id"] for each in told["imported"]], told["existing"]) == (["t"], ["s"])
    assert race.end().error is None
    assert desk.repository.owner_of("s") == (True, "user:ann")
    assert [turn["input"] for turn in desk.get("/sessions/s")["turns"]] == ["mine"]


def test_a_turn_in_a_session_that_was_given_to_somebody_else_fails(desk: Desk) -> None:
    """Whatever wrote it took no lock: the command line, another program."""
    race = Race(desk)
    desk.repository.import_rows("s", "user:bob", "his", [QUERY])
    assert isinstance(race.end().error, NotFound)
    assert "mine" not in json.dumps(desk.get("/sessions/s", "bob"))
    desk.get("/sessions/s", status=404)


class Locks:
    """Of all processes; another one has the session that is called ``theirs``."""

    def __init__(self) -> None:
        self.held: list[str] = []

    def acquire(self, session_id: str, _timeout: float, _token: CancelToken) -> Any:
        if session_id == "theirs":
            raise SessionBusy("It is.")
        self.held.append(session_id)
        return SimpleNamespace(release=lambda: self.held.remove(session_id))


def test_a_session_is_kept_from_turns_of_other_processes_too() -> None:
    locks: Any = Locks()
    engine = Engine(Scripted(lambda message, stream: message), MemoryStore(), Settings(), locks)
    with engine.alone("s"):
        assert locks.held == ["s"]
        with pytest.raises(SessionBusy), engine.alone("s"):
            pass
        with engine.alone("t"):
            assert locks.held == ["s", "t"]
    for _ in range(2):
        with pytest.raises(SessionBusy, match=r"^It is\.$"), engine.alone("theirs"):
            pass
    with engine.alone("s"):
        assert locks.held == ["s"]
