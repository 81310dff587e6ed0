"""A conversation as it is shown again: the same as it was shown live, whatever was said in it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tests.unit.logs import entry_of, events_of, log_of

from appbuilder import clock
from appbuilder.core.conversations import FEEDBACK_KEY, Conversation, StoredRow
from appbuilder.core.output import ComponentOutput
from appbuilder.core.store import TURN_KEY
from appbuilder.engine.engine import Run
from appbuilder.engine.fold import fold
from appbuilder.engine.log import Outcome, RunLog
from appbuilder.engine.machine import Ending
from appbuilder.engine.persistence import RetentionPolicy, turn_entry
from appbuilder.errors import AnswerTooLarge, AppBuilderError, ComponentError, TurnCancelled, TurnTimeout
from appbuilder.events import Custom, Event, File, Reasoning, State, Step, ToolCall, ToolResult
from appbuilder.jsontext import dumps
from appbuilder.protocols.rest.transcript import turns
from appbuilder.serve.page import page_steps, threads, turn_window
from appbuilder.serve.page.composer import Attached, Changed, Composer, Done, Grown, Part
from appbuilder.serve.page.page_steps import ItemIds
from appbuilder.serve.page.screen import LiveTurn, Screen
from appbuilder.serve.page.turn_window import Window
from appbuilder.settings import Settings
from appbuilder.store.databases import urls
from appbuilder.store.sessions.session_store import SqlStore

AT = datetime(2026, 1, 2, 3, 4, 5)
TALK = Conversation("session", "local", "title", AT, AT)
PLACE = ItemIds("session", "request", "turn", "Assistant", "en")


# Pieces of any kind

TEXTS = st.text(max_size=20) | st.sampled_from(
    ["", "```", "\n```\n", "# a\n", "* b", "|a|b|", "<b>", "$x$", "\r\n"]
)
CONTENTS = st.sampled_from(
    [
        {"type": "text", "text": {"info": "t"}},
        {"type": "code", "text": {"code": "1 < 2", "language": "python"}},
        {"type": "urls", "text": {"url": "https://a.example/b"}},
        {"type": "oral_text", "text": {"info": "said"}},
        {"type": "reasoning_content", "text": {"info": "because"}},
        {"type": "json", "text": {"data": "{}"}},
        {"type": "image", "text": {"url": "https://a.example/x.png"}},
        {"type": "files", "text": {"url": "https://a.example/f"}},
        {"type": "progress", "text": {"progress": 0.5, "message": "half"}},
        {"type": "unheard of", "text": 5},
        {"type": "references", "text": {"title": "t", "url": "https://a.example"}},
        {"type": "progress", "text": {"progress": 1}},
        {"type": "text", "text": {"info": "hidden"}, "visible_scope": "llm"},
        {"type": "chart", "text": {"data": "{"}},
    ]
)
OUTPUTS = st.lists(CONTENTS, max_size=3).map(lambda contents: {"role": "tool", "content": contents})
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
PIECES = st.lists(TEXTS | OUTPUTS | JSONS.filter(lambda value: value is not None), max_size=8)


HAPPENED = st.one_of(
    st.builds(Reasoning, TEXTS),
    st.builds(ToolCall, st.sampled_from("xy"), st.just("find"), TEXTS | st.just({"q": 1})),
    st.builds(ToolResult, st.sampled_from("xy"), TEXTS, st.none() | st.just("broken")),
    st.builds(Step, st.sampled_from("xz"), TEXTS, detail=TEXTS, started_at=st.just(AT.isoformat())),
    st.builds(File, TEXTS, st.just("https://a.example/f"), st.sampled_from([None, "image/png"])),
    st.builds(Custom, TEXTS),
    st.just(State(snapshot={"a": 1})),
)


def as_sent(pieces: Sequence[Any]) -> list[Any]:
    """As they stand in a run's log, where all are JSON values."""
    return [
        piece if isinstance(piece, (str, Event)) else json.loads(dumps(piece)) for piece in pieces
    ]


def replay(composer: Composer, batches: Sequence[Sequence[Any]]) -> list[Part]:
    """What a browser holds that was told each change."""
    shown: list[Part] = []
    for batch in batches:
        for change in composer.feed(events_of(batch)):
            if isinstance(change, Changed):
                part = change.part
                kept = Part(part.number, part.markdown, part.fold, part.grows)
                if part.number < len(shown):
                    kept.elements = shown[part.number].elements
                    shown[part.number] = kept
                else:
                    shown.append(kept)
            elif isinstance(change, Grown):
                shown[change.part.number].markdown += change.text
            elif isinstance(change, Attached):
                shown[change.part.number].elements.append(change.element)
    return shown


@given(pieces=PIECES, cuts=st.lists(st.integers(0, 8), max_size=4))
def test_a_browser_that_was_told_each_change_shows_the_parts(pieces: list[Any], cuts: list[int]) -> None:
    pieces, places = as_sent(pieces), sorted({0, *cuts, len(pieces)})
    places = [place for place in places if place <= len(pieces)]
    batches = [pieces[start:end] for start, end in pairwise(places)]
    live, whole = Composer(), Composer()
    shown = replay(live, batches)
    whole.feed(events_of(pieces))
    assert live.parts == whole.parts, "it does not matter what came together"
    assert [(each.number, each.markdown, each.fold, each.elements) for each in shown] == [
        (each.number, each.markdown, each.fold, each.elements) for each in live.parts
    ]


# Live and after a reload


class Watched:
    """A browser: the steps and elements it holds of one turn."""

    def __init__(self) -> None:
        self.steps: dict[str, dict[str, Any]] = {}
        self.elements: list[dict[str, Any]] = []

    async def emit(self, event: str, data: Any) -> None:
        if event in {"new_message", "stream_start", "update_message"}:
            self.steps[data["id"]] = dict(data)
        elif event == "stream_token":
            self.steps[data["id"]]["output"] += data["token"]
        elif event == "element":
            self.elements.append(data)
        elif event == "delete_message":
            del self.steps[data["id"]]


def explain(error: AppBuilderError) -> dict[str, Any]:
    return {"kind": type(error).__name__, "text": "what is told"}


class _Turn:
    def __init__(self) -> None:
        self.log = RunLog()
        self.request = None


def watched(pieces: Sequence[Any], model_steps: Sequence[Step], outcome: Outcome, words: str) -> Watched:
    """What a browser shows that watched the turn from its beginning to its end."""
    log, browser = RunLog(), Watched()
    turn: Any = _Turn()
    turn.log = log
    run = Run(turn, cancel_when_left=False)
    for each in (*model_steps, *pieces):
        log.append(entry_of(each))
    log.finish(outcome)
    live = LiveTurn("local", words, AT, PLACE.turn_id, run)
    asyncio.run(Screen(browser.emit, PLACE, explain).show(live))
    return browser


def reopened(
    pieces: Sequence[Any],
    model_steps: Sequence[Step],
    ending: Ending,
    error: AppBuilderError | None,
    words: str,
) -> dict[str, Any]:
    """What is shown of the same turn from its row."""
    log = log_of([*model_steps, *pieces])
    kept = turn_entry(
        RetentionPolicy(PLACE.turn_id, "local", explain),
        ending,
        message=words,
        answer={},
        said=fold(log.entries, log.others) if log.entries else None,
        error=error,
    )
    value = json.loads(dumps(kept.value))
    row = StoredRow(PLACE.turn_id, PLACE.request_id, TURN_KEY, value, AT)
    return threads.opened(TALK, "local", window_of(row), author="Assistant", language="en")


ENDINGS = st.sampled_from(
    [
        (Ending.WHOLE, None),
        (Ending.CUT, TurnCancelled("x")),
        (Ending.CUT, TurnTimeout("x")),
        (Ending.CUT, AnswerTooLarge("x")),
        (Ending.FAILED, ComponentError("secret")),
    ]
)
SAME = ("id", "type", "parentId", "output", "input", "name", "isError", "threadId", "showInput")
LLM = Step(
    "llm",
    "m",
    "model",
    detail={"prompt": [{"role": "user", "content": "q"}], "answer": "a"},
    usage={"total_tokens": 3},
    milliseconds=0,
    started_at=AT.isoformat(),
)
PIECES_AND_EVENTS = st.lists(PIECES | st.lists(HAPPENED, max_size=3), max_size=4).map(
    lambda lists: [each for some in lists for each in some]
)


@given(pieces=PIECES_AND_EVENTS, ending=ENDINGS, words=TEXTS, llm=st.booleans())
def test_after_a_reload_it_is_shown_as_it_was(
    pieces: list[Any], ending: tuple[Ending, AppBuilderError | None], words: str, llm: bool
) -> None:
    pieces, (how, error) = as_sent(pieces), ending
    outcome = Outcome(error=error) if error is not None else Outcome(answer={"content": ""})
    model_steps = [LLM] if llm else []
    live = watched(pieces, model_steps, outcome, words)
    again = reopened(pieces, model_steps, how, error, words)

    def comparable(shown: Any) -> list[Any]:
        # An answer of nothing is shown live, so that the cursor ends, and needs no showing again.
        return [
            {name: step[name] for name in SAME}
            for step in shown
            if step["output"] or step["type"] != "assistant_message" or live.elements
        ]

    texts_live = comparable(live.steps.values())
    texts_again = comparable(again["steps"])
    assert texts_live == texts_again, "in the same order"
    assert live.elements == again["elements"]
    assert all(step["end"] for step in live.steps.values() if step["type"] == "run"), "the run has ended"
    assert not any(step["streaming"] for step in live.steps.values())


def test_a_cut_turn_says_so_and_a_failed_one_why() -> None:
    cut = reopened(["a", "b"], [], Ending.CUT, TurnCancelled("x"), "q")
    assert [step["output"] for step in cut["steps"]] == ["q", "", "ab\n\n*⏹ Stopped*"]
    code = reopened(["```python\nwhile"], [], Ending.CUT, TurnCancelled("x"), "q")
    assert [step["output"] for step in code["steps"]][2:] == ["```python\nwhile", "\n\n*⏹ Stopped*"]
    failed = reopened(["a"], [], Ending.FAILED, ComponentError("secret"), "q")
    assert [step["output"] for step in failed["steps"]] == [
        "q",
        "",
        "a",
        "what is told (request id: `request`)",
    ]
    assert [step["isError"] for step in failed["steps"]] == [False, False, False, True]


# Rows of /chat and of the SDK


def row(key: str, content: Any, request: str = "r1", number: int = 0, **members: Any) -> StoredRow:
    at = AT + timedelta(seconds=number)
    return StoredRow(f"{request}-{key}-{number}", request, key, {"content": content, **members}, at)


def window_of(*rows: StoredRow, earlier: Any = None) -> Window:
    ratings = [row for row in rows if row.key == FEEDBACK_KEY]
    return Window(list(turns(rows)), ratings, earlier)


def shown(*rows: StoredRow, **options: Any) -> list[tuple[str, str]]:
    thread = threads.opened(TALK, "me", window_of(*rows, **options), author="Assistant", language="en")
    return [(step["type"], step["output"]) for step in thread["steps"]]


def test_rows_of_a_request_stand_together() -> None:
    rows = [
        row("query", "q1"),
        row("query", "q2", "r2", 1),
        row("answer", "a1", number=2),
        row("answer", "a2", "r2", 3),
    ]
    assert shown(*rows) == [
        ("user_message", "q1"),
        ("run", ""),
        ("assistant_message", "a1"),
        ("user_message", "q2"),
        ("run", ""),
        ("assistant_message", "a2"),
    ]


def test_what_stands_between_question_and_answer_folds_open() -> None:
    rows = [row("query", "q"), row("rewrite", "q, better", number=1), row("answer", "a", number=2)]
    assert shown(*rows) == [
        ("user_message", "q"),
        ("run", ""),
        ("tool", "q, better"),
        ("assistant_message", "a"),
    ]


def test_one_row_alone_is_a_question_or_an_answer() -> None:
    assert shown(row("query", "q")) == [("user_message", "q"), ("run", "")]
    answer = row("answer", "a", extra={}, token_usage={})
    assert shown(answer) == [("run", ""), ("assistant_message", "a")]


def test_a_cut_turn_of_the_service_is_marked() -> None:
    rows = [row("query", "q", state="incomplete"), row("answer", "a", number=1, state="incomplete")]
    assert shown(*rows)[-1] == ("assistant_message", "a\n\n*⏹ Stopped*")


@pytest.mark.parametrize(
    "value", [None, [], "text", 5, {}, {"content": None}, {"content": {"a": [1]}}, {"input": 5}]
)
@pytest.mark.parametrize("key", ["query", TURN_KEY, FEEDBACK_KEY, "_appbuilder.other"])
def test_whatever_a_row_holds(key: str, value: Any) -> None:
    odd = StoredRow("id", "r0", key, value, AT)
    found = shown(odd, row("query", "q"), row("answer", "a", number=1))
    assert found[-3:] == [("user_message", "q"), ("run", ""), ("assistant_message", "a")]


def test_a_link_leads_to_earlier_turns() -> None:
    rows = [row("query", "q", "r2", 1), row("answer", "a", "r2", 2)]
    link = "[Earlier messages](/thread/session/earlier?before=2026-01-02T03:04:06.000000~r2-query-1)"
    assert shown(*rows, earlier=rows[0].place) == [
        ("assistant_message", f"*{link}*"),
        ("user_message", "q"),
        ("run", ""),
        ("assistant_message", "a"),
    ]


@pytest.mark.parametrize("pieces", [None, ["字" * 70_000, "字" * 70_000], [{"a": 1}, "字" * 140_000]])
def test_of_a_giant_message_its_beginning_is_shown_and_a_link(pieces: list[Any] | None) -> None:
    said = {"input": {"content": "x" * 140_000}, "answer": {"content": "字" * 140_000}, "pieces": pieces}
    turn = StoredRow("t", "r1", TURN_KEY, said, AT)
    link = "[Show the whole message](/thread/session/earlier?before=2026-01-02T03:04:05.000001~)"
    question, *linked = [output for kind, output in shown(turn) if kind != "run"]
    assert question == "x" * threads.MOST_CHARACTERS + "…", "which is not Markdown"
    assert [link in output for output in (linked[0], linked[-1])] == [True, True]
    assert all(len(output) < threads.MOST_CHARACTERS + 300 for output in linked)


def test_an_open_fence_is_closed_before_the_link() -> None:
    code = "```python\n" + "x = 1\n" * 30_000
    turn = StoredRow("t", "r1", TURN_KEY, {"input": {"content": "q"}, "answer": {"content": code}}, AT)
    *_, cut, link = shown(turn)
    assert cut[1].startswith("```python")
    assert link[1].strip().startswith("*…")


def test_turns_of_one_request_id_are_all_shown() -> None:
    rows = []
    for number in range(3):
        kept = {"input": {"content": f"q{number}"}, "answer": {"content": f"a{number}"}, "state": "complete"}
        rows.append(StoredRow(f"t{number}", "same", TURN_KEY, kept, AT + timedelta(seconds=number)))
    thread = threads.opened(TALK, "local", window_of(*rows), author="Assistant", language="en")
    told = [step["output"] for step in thread["steps"] if step["type"] != "run"]
    assert told == ["q0", "a0", "q1", "a1", "q2", "a2"]
    ids = [step["id"] for step in thread["steps"]]
    assert len(set(ids)) == len(ids)


def test_ratings_stand_at_their_turn() -> None:
    turn = StoredRow("t1", "r1", TURN_KEY, {"input": {"content": "q"}, "answer": {"content": "a"}}, AT)
    rated = StoredRow("f1", "r1", FEEDBACK_KEY, {"turn": "t1", "good": False, "comment": "no"}, AT)
    other = StoredRow("f2", "r1", FEEDBACK_KEY, {"turn": "t2", "good": True, "comment": ""}, AT)
    thread = threads.opened(TALK, "me", window_of(turn, rated, other), author="A", language="en")
    run = next(step for step in thread["steps"] if step["type"] == "run")
    assert run["feedback"] == {"id": "t1", "forId": "t1", "value": 0, "comment": "no"}
    assert sum("feedback" in step for step in thread["steps"]) == 1


@pytest.mark.parametrize("name", ["sdk-utc.db", "sdk-shanghai.db"])
@pytest.mark.parametrize("session", ["sdk-session-1", "sdk-session-2"])
def test_conversations_of_the_sdk(name: str, session: str, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[1] / "store" / "data" / name, tmp_path / "sdk.db")
    store = SqlStore(urls.parse(f"sqlite:///{tmp_path}/sdk.db"), Settings())
    try:
        store.prepare()
        repository = store.repository()
        conversation = repository.find(session)
        assert conversation is not None
        assert conversation.owner is None
        found = [
            (step["type"], step["output"])
            for step in threads.opened(
                conversation, "local", turn_window.newest(repository, session), author="A", language="zh"
            )["steps"]
        ]
    finally:
        store.close()
    assert [kind for kind, _ in found] == ["user_message", "run", "assistant_message"] * 3
    assert all(text for kind, text in found if kind != "run")


# Fences


@given(words=st.text(alphabet="`~ \n\tab<>*#|\\", max_size=40) | st.text(max_size=20))
def test_nothing_breaks_out_of_a_fence(words: str) -> None:
    place_error = page_steps.error_line(PLACE, {"kind": "x", "text": "told", "traceback": words})
    tokens = MarkdownIt().parse(place_error)
    line = ["paragraph_open", "inline", "paragraph_close"]
    assert [token.type for token in tokens] == [*line, *(["fence"] if words else [])]
    detail = {"prompt": [{"role": "user", "content": words}], "answer": words}
    call = Done("i", "model", {"id": "i", "name": "m", "detail": detail}, ended=True, at=AT)
    prompt = page_steps.done(PLACE, call, AT)
    fences = [token.type for token in MarkdownIt().parse(prompt["input"])]
    assert fences == [*line, "fence"]
    assert [token.type for token in MarkdownIt().parse(prompt["output"])] == (["fence"] if words else [])


def test_typed_outputs_of_a_component_are_shown() -> None:
    output = ComponentOutput.model_validate(
        {"role": "tool", "content": [{"type": "text", "text": {"info": "typed"}}]}
    )
    sent = as_sent([output])
    assert [step["output"] for step in reopened(sent, [], Ending.WHOLE, None, "q")["steps"]][-1] == "typed"


def test_times_are_told_in_utc() -> None:
    assert page_steps.iso(AT) == "2026-01-02T03:04:05.000Z"
    assert threads.listed(TALK, "me")["createdAt"] == "2026-01-02T03:04:05.000Z"
    assert page_steps.iso(clock.now()).endswith("Z")
