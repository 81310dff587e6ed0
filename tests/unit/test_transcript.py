"""Sessions as files: what is written is read back, and what strangers send is checked."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appbuilder import jsontext
from appbuilder.core.conversations import FEEDBACK_KEY, Conversation, StoredRow
from appbuilder.core.message import AnswerMessage, Message, dump
from appbuilder.core.store import TURN_KEY
from appbuilder.errors import AnswerError, InvalidRequest
from appbuilder.ids import derived_id
from appbuilder.protocols.rest import transcript
from appbuilder.protocols.rest.transcript import Transcript
from appbuilder.store.conversations.imports import Imported

NOON = datetime(2026, 1, 2, 12)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=36)
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=128)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9998, 12, 31))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXT
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ROWS = st.builds(StoredRow, IDS, IDS, KEYS, JSON, TIMES)
SESSIONS = st.builds(Conversation, IDS, st.none() | TEXT, TEXT, TIMES, TIMES)
TRANSCRIPTS = st.builds(Transcript, SESSIONS, st.lists(ROWS, max_size=4))


def row(key: str, value: Any, request: str = "r1", row_id: str = "row") -> StoredRow:
    return StoredRow(row_id, request, key, value, NOON)


def turn(
    asked: str, answered: str, state: str = "complete", request: str = "r1", **of_answer: Any
) -> StoredRow:
    answer = {**dump(AnswerMessage(answered)), **of_answer}
    return row(TURN_KEY, {"input": dump(Message(asked)), "answer": answer, "state": state}, request)


def as_lines(whole: Transcript) -> Iterator[bytes]:
    """The session as the routes and the command line write it."""
    yield transcript.session_line(whole.conversation)
    for each in whole.rows:
        yield transcript.row_line(whole.conversation.session_id, each)


def of(*rows: StoredRow) -> Transcript:
    return Transcript(Conversation("s", "user:ann", "t", NOON, NOON), list(rows))


@given(st.lists(TRANSCRIPTS, max_size=3))
def test_what_is_written_is_read_back(written: list[Transcript]) -> None:
    lines = [line for each in written for line in as_lines(each)]
    assert all(line.count(b"\n") == 1 for line in lines)
    assert list(transcript.read(lines, trusted=True)) == written


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXT.filter(bool))))
def test_openai_messages_come_out_as_they_went_in(said: list[tuple[str, str]]) -> None:
    line = jsontext.dumps({"messages": [{"role": role, "content": text} for role, text in said]})
    (found,) = transcript.read([line])
    assert b"".join(transcript.openai_line(found.rows)) == line + b"\n"
    assert len({row.id for row in found.rows}) == len(found.rows)
    assert [row.created_at for row in found.rows] == sorted({row.created_at for row in found.rows})


def test_both_kinds_may_stand_in_one_file() -> None:
    whole = of(turn("a", "b"))
    lines = [
        *as_lines(whole),
        b"\n",
        b'{"messages": [{"role": "system", "content": [{"type": "odd"}]}, {"role": "user", "content":'
        b' [{"type": "text", "text": "\xe4\xbd\xa0\xe5\xa5\xbd"}]}]}\n',
        *as_lines(of()),
    ]
    first, second, third = transcript.read(lines)
    assert (first, third) == (whole, of())
    assert (second.conversation.title, second.conversation.owner) == ("你好", None)
    (said,) = transcript.turn_views(second.rows)
    assert (said.input, said.answer, said.state) == ("你好", "", "incomplete")


def test_what_was_said_is_the_turns_rows_or_else_what_the_component_stored() -> None:
    rows = [
        row("query", {"content": "old"}, "r0"),
        row("thought", {"content": "hm"}, "r0"),
        row("answer", {"content": "new", "token_usage": {"total_tokens": 3}, "state": "incomplete"}, "r0"),
        row("query", {"content": "a"}),
        turn("a", "b", "failed", token_usage={"total_tokens": 5}),
        row(FEEDBACK_KEY, {"turn": "row", "good": True}),
        row("answer", {"content": "alone", "extra": {}}, "r2"),
        row("note", "said", "r3"),
    ]
    found = [(each.input, each.answer, each.state, dict(each.usage)) for each in transcript.turn_views(rows)]
    assert found == [
        ("old", "new", "incomplete", {"total_tokens": 3}),
        ("a", "b", "failed", {"total_tokens": 5}),
        (None, "alone", "complete", {}),
        ("said", None, "complete", {}),
    ]


def test_a_turn_that_nobody_answered_and_what_is_no_text() -> None:
    rows = [turn("a", ""), turn("b", "")]
    rows[1].value["answer"]["content"] = {"x": 1}
    messages = json.loads(b"".join(transcript.openai_line(of(*rows).rows)))["messages"]
    assert messages == [
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": '{"x":1}'},
    ]


def nested(levels: int) -> Any:
    value: Any = "leaf"
    for _ in range(levels):
        value = [value]
    return value


def test_whatever_can_be_stored_goes_out_and_in() -> None:
    rows = [row("query", {"content": nested(jsontext.WRITTEN_DEPTH - 1)}),
            row("answer", {"content": [math.factorial(50), -(10**4299), 0.1 + 0.2]})]
    for each in rows:
        jsontext.dumps(each.value)
    with pytest.raises(AnswerError, match="deeper"):
        jsontext.dumps(nested(jsontext.WRITTEN_DEPTH + 1))
    whole = of(*rows)
    assert list(transcript.read(as_lines(whole))) == [whole]


def test_what_cannot_be_stored_is_refused() -> None:
    line = jsontext.dumps(ROW)
    for value, reason in (("9" * 5000, "too many digits"), ("1e999", "too large"),
                          ("[" * 255 + "]" * 255, "nested deeper"), ("[" * 10**5, "nested deeper")):
        with pytest.raises(InvalidRequest, match=f"^Line 2: not valid JSON, .*{reason}"):
            list(transcript.read([jsontext.dumps(SESSION), line.replace(b":1,", f":{value},".encode())]))


@pytest.mark.parametrize("name", ["", "x" * 37, "x" * 255, "a\n", "a\0", "ключ" * 30])
def test_an_id_of_the_sdk_s_that_a_request_cannot_have_is_replaced(name: str) -> None:
    session, other = {**SESSION, "session_id": name}, {**ROW, "session_id": name, "request_id": "other"}
    lines = [session, {**ROW, "session_id": name, "request_id": name, "id": name},
             {**other, "id": "2", "key": FEEDBACK_KEY, "value": {"turn": name, "good": True}}, other]
    (found,) = transcript.read(map(jsontext.dumps, lines))
    assert found.conversation.session_id == derived_id("session", name)
    assert [each.request_id for each in found.rows] == [derived_id("request", name), "other", "other"]
    Imported.of(found.conversation.session_id, None, "", found.rows)


def test_a_stranger_brings_no_row_by_which_the_service_remembers() -> None:
    rows = [row("_appbuilder.app", {"conversation": "another's"}), turn("a", "b"),
            row(FEEDBACK_KEY, {}), row("query", {})]
    lines = list(as_lines(of(*rows)))
    (taken,) = transcript.read(lines)
    assert [each.key for each in taken.rows] == [TURN_KEY, FEEDBACK_KEY, "query"]
    (all_of_it,) = transcript.read(lines, trusted=True)
    assert len(all_of_it.rows) == 4


SESSION = {"type": "session", "session_id": "s", "title": "", "created_at": "2026-01-01T00:00:00Z",
           "updated_at": "2026-01-01T00:00:00Z"}
ROW = {"type": "row", "session_id": "s", "id": "i", "request_id": "r", "key": "k", "value": 1,
       "created_at": "2026-01-01T08:00:00+08:00"}


def test_times_may_have_a_zone() -> None:
    (found,) = transcript.read([jsontext.dumps(SESSION), jsontext.dumps(ROW)])
    assert found.rows[0].created_at == datetime(2026, 1, 1)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([{**SESSION, "session_id": 5}], "Line 1: session_id: "),
        ([{**SESSION, "owner": 5}], "Line 1: owner: "),
        ([{**SESSION, "created_at": 5}], "Line 1: created_at: it must be a text."),
        ([{**SESSION, "created_at": "9999-12-31T23:59:59-12:00"}], "Line 1: created_at: there is no such"),
        ([ROW], "Line 1: this row does not follow the line of its session."),
        ([SESSION, {**ROW, "session_id": "t"}], "Line 2: this row does not follow"),
        ([SESSION, {**ROW, "key": "a\0"}], "Line 2: key: "),
        ([SESSION, {name: ROW[name] for name in ROW if name != "value"}], "Line 2: value: Field required."),
        ([{"messages": [], "x": 1}, {"messages": 7}], "Line 2: messages: "),
        ([{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}], "Line 1: messages.0."),
        ([[]], "Line 1: it is not a JSON object."),
        ([{}], "Line 1: it is neither a session"),
    ],
)
def test_a_line_that_does_not_fit_is_named(lines: list[Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        list(transcript.read(jsontext.dumps(line) for line in lines))
    assert str(caught.value).startswith(sentence)


def test_a_line_that_is_no_json_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"^Line 2: not valid JSON, a name stands twice"):
        list(transcript.read([b"\n", b'{"a": 1, "a": 1}']))


def test_turns_of_one_request_id_and_requests_among_each_other() -> None:
    rows = [
        row("query", "1", "same"), turn("1", "a", request="same"),
        row("query", "2", "other"), turn("2", "b", request="other"),
        turn("3", "c", request="same"),
        row("query", "x", "r1"), row("query", "y", "r2"), row("answer", "X", "r1"), row("answer", "Y", "r2"),
        *(row("query", str(number), f"q{number}") for number in range(40)),
        row("answer", "late", "q39"),
    ]
    told = [(each.input, each.answer) for each in transcript.turn_views(rows)]
    assert told[:5] == [("1", "a"), ("2", "b"), ("3", "c"), ("x", "X"), ("y", "Y")]
    assert told[5:] == [*((str(number), None) for number in range(39)), ("39", "late")]
    open_before = [row("query", "x", "r1"), turn("1", "a", request="same"), turn("2", "b", request="same")]
    assert [each.input for each in transcript.turn_views(open_before)] == ["x", "1", "2"]
    seen = 0

    def counted() -> Iterator[StoredRow]:
        nonlocal seen
        for each in rows:
            seen += 1
            yield each

    next(transcript.turns(counted()))
    assert seen == 2, "a turn is told as soon as it is whole"


def test_what_else_is_known_of_a_turn() -> None:
    told = turn("a", "")
    told.value.update(milliseconds=12, error={"kind": "ComponentError", "text": "It failed."})
    odd = turn("a", "")
    odd.value.update(milliseconds="soon", error="it")
    first, second = transcript.turn_views([told, odd])
    assert (first.milliseconds, first.error) == (12, {"kind": "ComponentError", "text": "It failed."})
    assert (second.milliseconds, second.error) == (None, {})
