"""What the admin page shows of a conversation's rows, whoever wrote them; and how."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from appbuilder.core.conversations import FEEDBACK_KEY, Conversation, Rating, StoredRow
from appbuilder.core.store import TURN_KEY
from appbuilder.errors import Forbidden, InvalidRequest
from appbuilder.serve.admin import formatting, view_models
from appbuilder.serve.admin.forms import check_own_page
from appbuilder.serve.admin.templates import HEADERS, STATIC, page
from appbuilder.serve.admin.translations import TEXTS, Words

AT = datetime(2026, 1, 2, 3, 4, 5)
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def row(key: str, value: Any, request: str = "r1", row_id: str | None = None) -> StoredRow:
    return StoredRow(row_id or f"{request}-{key}", request, key, value, AT)


def kept(request: str = "r1", **members: Any) -> StoredRow:
    """A turn's own row."""
    value = {"input": {"content": "asked"}, "answer": {"content": "said"}, "state": "complete", **members}
    return row(TURN_KEY, value, request, f"{request}-turn")


def rated(turn_id: str, good: bool, comment: str = "") -> StoredRow:
    return row(FEEDBACK_KEY, {"turn": turn_id, "good": good, "comment": comment}, "r9", f"rating-{turn_id}")


def words_of(texts: Sequence[view_models.TextView]) -> list[str]:
    return [each.words for each in texts]


# From rows to turns


def test_a_turn_of_the_service() -> None:
    call = {"kind": "model", "model": "m", "prompt": [{"role": "user", "content": "p"}], "answer": "a",
            "usage": USAGE, "milliseconds": 12, "error": ""}
    event = {"kind": "event", "name": "looked", "detail": {"hits": 3}, "error": "none"}
    found = view_models.turns([
        row("query", {"content": "asked"}),
        kept(answer={"content": "said", "token_usage": USAGE}, milliseconds=1500, steps=[call, event],
             attachments=[{"name": "a.pdf", "mime": "application/pdf"}]),
        rated("r1-turn", False, "wrong"),
    ])
    assert found == [
        view_models.AdminTurn(
            id="r1-turn",
            request_id="r1",
            at=AT,
            question=view_models.TextView("asked"),
            answer=[view_models.TextView("said")],
            state="complete",
            tokens=view_models.TokenCounts(3, 4, 7),
            milliseconds=1500,
            steps=[
                view_models.StepView(
                    "m",
                    [("user", view_models.TextView("p")), ("assistant", view_models.TextView("a"))],
                    view_models.TokenCounts(3, 4, 7),
                    12,
                ),
                view_models.StepView(
                    "looked", [("", view_models.TextView('{\n  "hits": 3\n}', is_json=True))], error="none"
                ),
            ],
            files=["a.pdf"],
            rating=Rating(False, "wrong"),
        )
    ]


def test_a_turn_that_failed_says_why() -> None:
    [turn] = view_models.turns([kept(state="failed", error={"kind": "ModelTimeout", "text": "Try again."})])
    assert (turn.state, turn.error, turn.told) == ("failed", "ModelTimeout", "Try again.")


def test_typed_outputs_stand_between_the_texts() -> None:
    [turn] = view_models.turns([kept(pieces=["a", "b", {"type": "chart"}, "c"])])
    assert words_of(turn.answer) == ["ab", '{\n  "type": "chart"\n}', "c"]
    assert [each.is_json for each in turn.answer] == [False, True, False]


def test_a_turn_whose_texts_are_not_kept() -> None:
    [turn] = view_models.turns([row(TURN_KEY, None)])
    assert (turn.question, turn.answer, turn.state) == (None, [], "complete")


def test_turns_over_post_chat_or_by_the_sdk_are_paired_by_request() -> None:
    rows = [
        row("query", {"content": "one"}),
        row("thought", {"content": "hm"}),
        row("answer", {"content": "two", "extra": {}, "token_usage": USAGE}),
        row("query", {"content": "three"}, "r2"),
        row("answer", {"content": "fo", "state": "incomplete"}, "r2"),
        rated("r2-answer", True),
    ]
    first, second = view_models.turns(rows)
    assert (first.question, words_of(first.answer)) == (view_models.TextView("one"), ["two"])
    assert first.remembered == [("thought", view_models.TextView("hm"))]
    assert (first.tokens.total, first.milliseconds) == (7, None)
    assert (second.state, second.rating) == ("incomplete", Rating(True))


def test_a_turn_whose_beginning_is_missing_is_left_out() -> None:
    rows = [row("answer", {"content": "of before"}), row("query", {"content": "q"}, "r2"), kept("r3")]
    assert [turn.request_id for turn in view_models.turns(view_models.whole_turns(rows))] == ["r2", "r3"]
    assert view_models.whole_turns(rows[2:]) == rows[2:]
    assert view_models.whole_turns(rows[:1]) == rows[:1]


def test_a_long_text_is_cut_and_says_so() -> None:
    [turn] = view_models.turns([kept(answer={"content": "x" * (view_models.LONGEST_TEXT + 5)})])
    assert (len(turn.answer[0].words), turn.answer[0].left_out) == (view_models.LONGEST_TEXT, 5)


def test_totals() -> None:
    rows = [
        kept("r1", answer={"content": "", "token_usage": {"prompt_tokens": 1, "completion_tokens": 2}}),
        kept("r2", state="failed"),
        rated("r1-turn", True), rated("r2-turn", False),
    ]
    expected = view_models.Totals(turns=2, tokens=3, good=1, bad=1, failed=1)
    assert view_models.totals(view_models.turns(rows)) == expected
    assert view_models.totals([], whole=False) == view_models.Totals(whole=False)


NAMES = st.text() | st.sampled_from(
    ["input", "answer", "content", "pieces", "steps", "error", "state", "kind", "usage", "token_usage",
     "total_tokens", "milliseconds", "attachments", "prompt", "turn"]
)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
ROWS = st.lists(
    st.builds(
        StoredRow,
        id=st.uuids().map(str),
        request_id=st.sampled_from(["r1", "r2"]),
        key=st.sampled_from([TURN_KEY, FEEDBACK_KEY, "_appbuilder.app", "query", "answer"]),
        value=JSONS,
        created_at=st.just(AT),
    ),
    max_size=6,
)


@settings(max_examples=50, deadline=None)
@given(rows=ROWS, whole=st.booleans())
def test_whatever_some_program_stored_is_shown_as_text(rows: list[StoredRow], whole: bool) -> None:
    told = view_models.turns(rows if whole else view_models.whole_turns(rows))
    html = render("session.html", session=conversation(), turns=told, earlier=None, newest=None, chat=None,
                  sums=view_models.totals(told, whole=whole))
    html.encode()


# Owners, times, numbers


@pytest.mark.parametrize(
    ("owner", "label", "value"),
    [
        (None, "Nobody", "nobody"),
        ("local", "Local user", "local"),
        ("anonymous", "Anonymous", "anonymous"),
        ("user:ann", "ann", "user:ann"),
        ("visitor:0123456789abcdef", "Visitor 89abcdef", "visitor:0123456789abcdef"),
    ],
)
def test_an_owner_is_shown_and_found_again(owner: str | None, label: str, value: str) -> None:
    found = formatting.owner(owner, Words(chinese=False))
    assert (found.label, found.value) == (label, value)
    meant = formatting.parse_owners(found.value)
    assert meant is not None
    assert owner in meant


def test_who_is_meant_by_what_one_writes() -> None:
    assert formatting.parse_owners(" ") is None
    assert formatting.parse_owners("nobody") == (None,)
    assert formatting.parse_owners(" ann ") == ("user:ann", "ann", "visitor:ann")
    assert formatting.parse_owners("user:ann") == ("user:ann",)


def test_a_place_comes_back_as_it_was_written() -> None:
    assert formatting.place(None) is None
    assert formatting.place(formatting.encode_place((AT, "row"))) == (AT, "row")
    for bad in ("", "yesterday~row", "~"):
        with pytest.raises(InvalidRequest):
            formatting.place(bad)


@pytest.mark.parametrize(
    ("milliseconds", "written"),
    [(0, "0 ms"), (999, "999 ms"), (1000, "1.0 s"), (59_900, "59.9 s"), (61_000, "1 min 1 s"),
     (3_725_000, "1 h 2 min")],
)
def test_durations(milliseconds: int, written: str) -> None:
    assert formatting.duration(milliseconds) == written


def test_every_word_stands_in_both_languages() -> None:
    for name, (chinese, english) in TEXTS.items():
        assert re.search(r"[\u4e00-\u9fff]", chinese), name
        assert re.match(r"[A-Za-z]", english), name
        assert not re.search(r"[\u4e00-\u9fff]", english), name
    assert (Words(chinese=True)["sessions"], Words(chinese=False)["sessions"]) == ("会话", "Sessions")


def test_every_word_is_used_and_every_used_word_is_there() -> None:
    folder = STATIC.parent
    pages = "".join(path.read_text() for path in folder.glob("templates/*.html"))
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    by_name = re.findall(r"""words(?:"\])?\[["']([a-z_]+)""", pages + source)
    named = {*re.findall(r"words\.([a-z_]+)", pages), *by_name}
    by_value = {"sessions", "runs", "keys", "local", "anonymous", "complete", "incomplete", "failed",
                "waiting", "running", "stopping"}
    assert (named | by_value) - {"language"} == TEXTS.keys()


# Pages


def conversation(**members: Any) -> Conversation:
    return Conversation(**{"session_id": "s", "owner": "user:ann", "title": "t", "created_at": AT,
                           "updated_at": AT + timedelta(minutes=1), **members})


def render(template: str, **given: Any) -> str:
    frame: dict[str, Any] = {"base": "/admin", "service_name": "Echo", "tab": "sessions", "viewer": "ann",
                             "words": Words(chinese=False)}
    return bytes(page(template, **frame, **given).body).decode()


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def test_html_in_what_people_say_is_text() -> None:
    value = {
        "input": {"content": EVIL}, "answer": {"content": EVIL}, "pieces": [EVIL, {EVIL: EVIL}],
        "state": "failed", "error": {"kind": EVIL, "text": EVIL}, "attachments": [{"name": EVIL}],
        "steps": [{"model": EVIL, "prompt": [{"role": EVIL, "content": EVIL}], "error": EVIL}],
    }
    rows = [row(TURN_KEY, value, EVIL, EVIL), rated(EVIL, True, EVIL),
            *(row(f"{EVIL}{number}", {"content": EVIL}, "r2") for number in range(3))]
    told = view_models.turns(rows)
    html = render("session.html", turns=told, sums=None, earlier=None, newest=None, chat=None,
                  session=conversation(session_id=EVIL, owner=f"user:{EVIL}", title=EVIL))
    assert html.count("&lt;script&gt;") > 15
    assert "<script>" not in html
    assert "<img src=x" not in html
    evil = conversation(session_id=EVIL, owner=EVIL, title=EVIL)
    listed = render("sessions.html", search=EVIL, owner=EVIL, known_owners=[], newest=None, older=None,
                    sessions=[(evil, view_models.Totals())])
    assert "<script>" not in listed
    assert "<img src=x" not in listed


def test_no_page_holds_inline_script_or_style() -> None:
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    html = render(
        "session.html",
        turns=[],
        sums=view_models.Totals(),
        earlier=None,
        newest=None,
        chat="/thread/s",
        session=conversation(),
    )
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=", html) == []
    assert set(re.findall(r"""(?:src|href|action)="([^"]*)""", html)) == {
        "/admin", "/admin/runs", "/admin/keys", "/admin/static/icon.svg", "/admin/static/admin.css",
        "/admin/static/admin.js", "/thread/s", "/admin/sessions/s/rename", "/admin/sessions/s/delete",
        "/admin?owner=user%3Aann",
    }


# Forms


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"origin": "http://here.test", "sec-fetch-site": "same-origin"}, True),
        ({"origin": "https://here.test"}, True),
        ({}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://there.test"}, False),
        ({"origin": "http://here.test.evil.test"}, False),
        ({"origin": "http://here.test", "sec-fetch-site": "same-site"}, False),
        ({"origin": "http://here.test", "sec-fetch-site": "cross-site"}, False),
    ],
)
def test_only_the_pages_own_forms_change_something(headers: dict[str, str], own: bool) -> None:
    sent = [(b"host", b"here.test"), *((name.encode(), value.encode()) for name, value in headers.items())]
    request = Request({"type": "http", "method": "POST", "path": "/admin", "headers": sent})
    if own:
        check_own_page(request)
    else:
        with pytest.raises(Forbidden):
            check_own_page(request)
