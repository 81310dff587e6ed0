"""The part of a conversation that the page reads at once: the newest turns, by number and by bytes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appbuilder.core.conversations import FEEDBACK_KEY, Conversation, Place, SomeRows, StoredRow
from appbuilder.core.store import TURN_KEY
from appbuilder.errors import InvalidRequest, NotFound
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.page import turn_window
from appbuilder.serve.page.earlier_turns import EarlierTurnsPage
from appbuilder.serve.page.user_conversations import UserConversations
from appbuilder.store.sessions.rows import within

AT = datetime(2026, 1, 2, 3, 4, 5)
ANN, BOB = Identity("ann", "user:ann"), Identity("bob", "user:bob")


class Rows:
    """A catalogue of one conversation of Ann's, which notes what is read of it at a time."""

    def __init__(self, rows: Sequence[StoredRow]) -> None:
        self.stored = list(rows)
        self.reads: list[int] = []
        self.bytes_read = 0

    def read_back(self, session_id: str, before: Place | None, limit: int, most_bytes: int) -> SomeRows:
        stored = [row for row in reversed(self.stored) if before is None or row.place < before]
        found, more = within(stored, limit, most_bytes, lambda row: len(str(row.value)))
        self.reads.append(len(found))
        self.bytes_read += sum(len(str(row.value)) for row in found)
        return SomeRows(found[::-1], found[-1].place if more else None)

    def find(self, session_id: str) -> Conversation | None:
        return Conversation(session_id, ANN.owner, "<b>Title</b>", AT, AT) if session_id == "s/1" else None


class NoTurns:
    """A page on which nothing is under way."""

    def begun_by(self, owner: str) -> list[Any]:
        return []


def turn(number: int, words: str = "", *, state: str = "complete") -> StoredRow:
    value = {"input": {"content": f"q{number}"}, "answer": {"content": f"a{number}{words}"}, "state": state}
    return StoredRow(f"t{number:05}", f"r{number}", TURN_KEY, value, AT + timedelta(seconds=number))


def newest(rows: Sequence[StoredRow], **limits: Any) -> turn_window.Window:
    return turn_window.newest(Rows(rows), "s/1", **limits)  # type: ignore[arg-type]


def ids(found: turn_window.Window) -> list[str]:
    return [rows[-1].id for rows in found.turns]


def test_the_newest_turns_of_a_long_conversation() -> None:
    stored = [turn(number) for number in range(1000)]
    repository = Rows(stored)
    found = turn_window.newest(repository, "s/1")  # type: ignore[arg-type]
    assert ids(found) == [row.id for row in stored[-turn_window.MOST_TURNS :]]
    assert found.earlier == stored[-turn_window.MOST_TURNS].place
    assert sum(repository.reads) <= 3 * turn_window.MOST_TURNS + 200


def test_a_short_one_is_shown_whole() -> None:
    stored = [turn(number) for number in range(turn_window.MOST_TURNS)]
    assert ids(newest(stored)) == [row.id for row in stored]
    assert newest(stored).earlier is None
    assert newest([]) == turn_window.Window([], [], None)


def test_of_giant_turns_few_are_read() -> None:
    """50 turns of 4 MB: what is read does not grow with the conversation."""
    stored = [turn(number, "x" * 4_000_000) for number in range(12)]
    repository = Rows(stored)
    found = turn_window.newest(repository, "s/1")  # type: ignore[arg-type]
    assert ids(found) == [stored[-1].id]
    assert found.earlier == stored[-1].place
    assert repository.bytes_read <= 17_000_000


def test_one_giant_among_small_ones_takes_the_room() -> None:
    stored = [turn(1), turn(2, "x" * 2_000_000), *(turn(number) for number in range(3, 20))]
    assert ids(newest(stored)) == [row.id for row in stored[2:]]


@st.composite
def conversations(draw: st.DrawFn) -> list[StoredRow]:
    """Turns with a row of their own, turns of several rows among each other, ratings; times may be equal."""
    rows: list[StoredRow] = []
    at = AT
    for number in range(draw(st.integers(0, 30))):
        at += timedelta(seconds=draw(st.integers(0, 1)))
        kind = draw(st.sampled_from(["turn", "rows", "rating"]))
        words = "x" * draw(st.sampled_from([0, 10, 400]))
        if kind == "turn":
            row = turn(number, words)
            rows.append(StoredRow(f"{number:03}a", row.request_id, row.key, row.value, at))
        elif kind == "rows":
            rows.append(StoredRow(f"{number:03}a", f"r{number}", "query", {"content": f"q{number}"}, at))
            value = {"content": f"a{number}{words}", "token_usage": {}}
            rows.append(StoredRow(f"{number:03}b", f"r{number}", "answer", value, at))
        else:
            rows.append(StoredRow(f"{number:03}a", f"r{number}", FEEDBACK_KEY, {"turn": "t"}, at))
    return sorted(rows, key=lambda row: row.place)


@given(stored=conversations(), most_turns=st.integers(1, 8), most_bytes=st.sampled_from([1, 600, 10**6]))
def test_pages_one_after_the_other_show_every_turn_once(
    stored: list[StoredRow], most_turns: int, most_bytes: int
) -> None:
    seen: list[str] = []
    before: Place | None = None
    while True:
        found = newest(stored, before=before, most_turns=most_turns, most_bytes=most_bytes)
        seen = [row.id for rows in found.turns for row in rows] + seen
        assert len(found.turns) <= most_turns
        if found.earlier is None:
            break
        assert before is None or found.earlier < before
        before = found.earlier
    assert seen == [row.id for row in stored if row.key != FEEDBACK_KEY]


# The plain page


def shown(repository: Rows, who: Identity = ANN, before: str | None = None, session_id: str = "s/1") -> str:
    conversations = UserConversations(repository, NoTurns())  # type: ignore[arg-type]
    page = EarlierTurnsPage(repository, conversations, "A & B")  # type: ignore[arg-type]
    response = asyncio.run(page.page(who, session_id, before, "en"))
    assert response.status_code == 200
    return bytes(response.body).decode()


def test_all_turns_are_found_from_page_to_page() -> None:
    repository = Rows([turn(number) for number in range(120)])
    questions: list[str] = []
    before: str | None = None
    for _ in range(3):
        html = shown(repository, before=before)
        questions = re.findall(r'<div class="words short" dir="auto">(q\d+)</div>', html) + questions
        link = re.search(r'href="(/thread/s%2F1/earlier\?before=[^"]+)" rel="prev"', html)
        if link is not None:
            address = urlsplit(link[1].replace("&amp;", "&"))
            assert unquote(address.path) == "/thread/s/1/earlier"
            [before] = parse_qs(address.query)["before"]
    assert link is None
    assert questions == [f"q{number}" for number in range(120)]


def test_what_was_said_is_text() -> None:
    row = turn(1, "<script>alert(1)</script>\ud800\x00", state="incomplete")
    html = shown(Rows([row]))
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "<title>&lt;b&gt;Title&lt;/b&gt; – A &amp; B</title>" in html
    assert "Stopped" in html
    assert 'lang="en"' in html


@pytest.mark.parametrize(
    ("state", "members", "said"),
    [
        ("complete", {}, None),
        ("incomplete", {}, "Stopped"),
        ("complete", {"answer": {"content": "a", "extra": {"finish_reason": "abort"}}}, "abort"),
        ("complete", {"answer": {"content": "a", "extra": {"finish_reason": "length"}}}, "limit"),
        ("incomplete", {"error": {"kind": "x", "text": "It is too large."}}, "It is too large."),
        ("failed", {"error": {"kind": "x", "text": "It broke."}}, "It broke."),
    ],
)
def test_why_an_answer_is_not_whole(state: str, members: Mapping[str, Any], said: str | None) -> None:
    row = turn(1, state=state)
    html = shown(Rows([replace(row, value={**row.value, **members})]))
    notes = re.findall(r'<p class="note">(.*?)</p>', html, re.DOTALL)
    assert len(notes) == (said is not None)
    assert all(str(said) in each for each in notes)


@pytest.mark.parametrize(("who", "session_id"), [(BOB, "s/1"), (ANN, "another")])
def test_another_callers_conversation_is_not_there(who: Identity, session_id: str) -> None:
    with pytest.raises(NotFound):
        shown(Rows([turn(1)]), who, session_id=session_id)


@pytest.mark.parametrize(
    "before", ["", "x", "2026-13-01T00:00:00.000000~", "2026-01-01T00:00:00.000000~a\x00", "~" * 99]
)
def test_a_place_that_is_not_one(before: str) -> None:
    with pytest.raises(InvalidRequest):
        shown(Rows([turn(1)]), before=before)
