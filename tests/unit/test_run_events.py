"""Runs that say more than text: events in the log, in the answer, in what is stored, and on the wire."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engines import ask, async_engine, engine_of
from tests.unit.logs import batch_of, entry_of, log_of

from appbuilder import FlaskRuntime
from appbuilder.core.component import Component
from appbuilder.core.context import get_context
from appbuilder.core.events import RunEvent, answer_text
from appbuilder.core.message import AnswerMessage, Message, dump
from appbuilder.engine.engine import Run
from appbuilder.engine.fold import fold, stored_events
from appbuilder.engine.log import Position, RunLog
from appbuilder.engine.persistence import RetentionPolicy
from appbuilder.engine.reader import LogReader, lagging
from appbuilder.errors import AnswerTooLarge, TurnCancelled
from appbuilder.events import (
    KINDS,
    Custom,
    Event,
    File,
    Reasoning,
    State,
    Step,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from appbuilder.jsontext import dumps
from appbuilder.protocols.openai.chat_completions import ChunkEncoder, CompletionHead
from appbuilder.protocols.openai.shown import reasoning, stored_text, whole_text

ALL = [
    Reasoning("why"),
    ToolCall("1", "find", {"q": "x"}),
    ToolResult("1", ["found"]),
    Step("s", "read"),
    File("a.txt", "https://a.example/a.txt", "text/plain", 3),
    State(snapshot={"n": 1}),
    State(patch=[{"op": "add", "path": "/n", "value": 2}]),
    Usage(1, 2),
    Custom("mine", [1]),
]


def kept(**members: Any) -> Any:
    return ask(stream=True, keep=RetentionPolicy("t" * 36, "local", lambda error: {}), **members)


def kinds(log: RunLog) -> list[Any]:
    """Texts, and the kinds of the other entries, in order."""
    return [each if isinstance(each, str) else each.kind for each in log.entries]


def streamed(script: Callable[[], Iterator[Any]]) -> Callable[..., Any]:
    return lambda message, stream: AnswerMessage(script())


def streamed_async(script: Callable[[], Iterator[Any]]) -> Callable[..., Any]:
    async def pieces() -> AsyncIterator[Any]:
        for piece in script():
            yield piece

    async def run(message: Message[Any], stream: bool) -> Message[Any]:
        return AnswerMessage(pieces())

    return run


def run_to_end(script: Callable[[], Iterator[Any]], kind: str, request: Any = None) -> tuple[Run, Any]:
    """The run of a component that streams what *script* yields, and the store."""
    store: Any
    if kind == "threads":
        engine, store, _ = engine_of(streamed(script))
    else:
        engine, store = async_engine(streamed_async(script))
    run = engine.start(request or kept())
    run.log.wait_outcome()
    return run, store


BOTH = pytest.mark.parametrize("kind", ["threads", "loop"])


@BOTH
def test_events_stand_among_the_text_where_they_happened(kind: str) -> None:
    def script() -> Iterator[Any]:
        yield "a"
        for event in ALL:
            yield event
            yield event.event_kind

    run, store = run_to_end(script, kind)
    assert run.log.outcome is not None
    assert run.log.outcome.error is None
    assert kinds(run.log) == ["a", *(kind for event in ALL for kind in [event.event_kind] * 2)]
    text = "a" + "".join(event.event_kind for event in ALL)
    answer = run.log.outcome.answer
    assert answer is not None
    assert answer["content"] == text
    assert answer["token_usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    value = json.loads(dumps(store.turns[0].entry.value))
    assert value["answer"]["content"] == text
    again = list(stored_events(value))
    live = run.log.events(0, run.log.entries)
    assert [(each.kind, dict(each.data)) for each in again] == [
        (each.kind, json.loads(dumps(each.data))) for each in live
    ]


def test_events_are_numbered_and_have_times_that_do_not_step_back() -> None:
    run, _ = run_to_end(lambda: iter(["a", *ALL, "b"]), "threads")
    events = run.log.events(0, run.log.entries)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    times = [event.at for event in events if event.at is not None]
    assert len(times) == len(events)
    assert times == sorted(times)


@BOTH
def test_a_blocking_answer_is_the_fold_of_the_same_log(kind: str) -> None:
    request = ask(keep=RetentionPolicy("t" * 36, "local", lambda error: {}))
    run, store = run_to_end(lambda: iter(["a", ToolCall("1", "f", "{}"), "b"]), kind, request)
    assert run.log.outcome is not None
    assert run.log.outcome.answer is not None
    assert run.log.outcome.answer["content"] == "ab"
    assert store.turns[0].entry.value["events"] == [
        1, {"kind": "tool_call", "data": {"id": "1", "name": "f", "arguments": "{}"}}, 1,
    ]


@pytest.mark.parametrize("stream", [True, False])
def test_what_is_emitted_from_within_run_is_part_of_the_answer(stream: bool) -> None:
    def script(message: Message[Any], stream: bool) -> Any:
        get_context().emit(Text("one "))
        get_context().emit(Reasoning("hm"))
        helper = threading.Thread(target=get_context().emit, args=(Text("two "),))
        helper.start()
        helper.join()
        return "three"

    engine, _, _ = engine_of(script)
    run = engine.start(ask(stream=stream))
    outcome = run.log.wait_outcome()
    assert kinds(run.log) == ["one ", "reasoning", "two ", "three"]
    assert outcome.answer is not None
    assert outcome.answer["content"] == "one two three"
    assert run.log.head is not None
    assert run.log.head["id"] == outcome.answer["id"]


def test_text_events_are_text_outside_a_runtime_too() -> None:
    message: Message[Any] = Message(iter(["a", Text("b"), Reasoning("c"), "d"]))
    assert [piece for piece in message.content if isinstance(piece, str)] == ["a", "b", "d"]
    assert message.content == "abd"
    get_context().emit(Text("nowhere"))


@pytest.mark.parametrize("odd", ["text", {"kind": "text"}, None, 7])
def test_only_events_can_be_emitted(odd: Any) -> None:
    seen: list[BaseException] = []

    def script(message: Message[Any], stream: bool) -> Any:
        try:
            get_context().emit(odd)
        except TypeError as error:
            seen.append(error)
        return "ok"

    engine, _, _ = engine_of(script)
    engine.start(ask()).log.wait_outcome()
    assert [str(error) for error in seen] == [
        f"emit takes an event of appbuilder.events, not {type(odd).__name__}."
    ]


def test_an_event_that_is_not_json_is_an_error_of_the_component() -> None:
    run, _ = run_to_end(lambda: iter(["a", Custom("x", object())]), "threads")
    assert run.log.outcome is not None
    assert run.log.outcome.error is not None
    assert kinds(run.log) == ["a"]


def test_events_cannot_be_changed_after_they_were_yielded() -> None:
    arguments = {"q": "x"}

    def script() -> Iterator[Any]:
        yield ToolCall("1", "f", arguments)
        arguments["q"] = "changed"

    run, _ = run_to_end(script, "threads")
    assert [each.data["arguments"] for each in run.log.entries if not isinstance(each, str)] == [{"q": "x"}]


def test_state_is_a_snapshot_or_a_patch() -> None:
    with pytest.raises(ValueError, match="a snapshot or a patch"):
        State()
    with pytest.raises(ValueError, match="a snapshot or a patch"):
        State(1, [])


@pytest.mark.parametrize(("kind", "value"), [(Text, b"x"), (Reasoning, None), (Usage, -1), (Usage, "1")])
def test_what_an_event_holds_is_checked(kind: Any, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"takes a str|whole number"):
        kind(value)


def test_a_kind_of_the_program_s_own_is_refused() -> None:
    class Own(Event):
        event_kind = "own\ndata: x"

    run, _ = run_to_end(lambda: iter(["a", Own()]), "threads")
    assert kinds(run.log) == ["a"]
    assert run.log.outcome is not None
    assert run.log.outcome.error is not None


def test_files_are_links_and_reasoning_its_own_member_in_the_openai_api() -> None:
    log = log_of(["see ", File("[a].txt", "https://a.example/a b>c"), Reasoning("hm"), {"x": 1}])
    assert whole_text(log, "ignored") == 'see [(a).txt](<https://a.example/a%20b%3Ec>){"x":1}'
    assert reasoning(log) == "hm"
    folded = fold(log.entries, log.others)
    stored = json.loads(dumps({"answer": {"content": folded.content}, "events": folded.events}))
    assert stored_text(stored) == whole_text(log, "ignored"), "it is the same when it is read again"
    deltas = [
        json.loads(line.removeprefix("data: "))["choices"][0]["delta"]
        for line in ChunkEncoder(CompletionHead("i", 1, "m"))
        .events(batch_of(log.entries))
        .decode()
        .split("\n\n")
        if line
    ]
    assert [each for delta in deltas[1:] for each in delta.items()] == [
        ("content", "see "),
        ("content", "[(a).txt](<https://a.example/a%20b%3Ec>)"),
        ("reasoning_content", "hm"),
        ("content", '{"x":1}'),
    ]


# Limits


@BOTH
def test_events_count_towards_the_limit_of_an_answer(kind: str) -> None:
    script = lambda: iter([Custom("x", "y" * 400)] * 10)  # noqa: E731
    engine: Any
    if kind == "threads":
        engine, _, _ = engine_of(streamed(script), max_answer=1000)
    else:
        engine, _ = async_engine(streamed_async(script), max_answer=1000)
    run = engine.start(ask(stream=True))
    assert isinstance(run.log.wait_outcome().error, AnswerTooLarge)
    assert kinds(run.log) == ["custom"] * 2
    assert engine.budget.used == 0


# Retries


@BOTH
@pytest.mark.parametrize(
    ("first", "attempts"),
    [
        (Step("s", "x"), 3),
        (Usage(1, 1), 3),
        (Reasoning("x"), 1),
        (ToolCall("1", "f", {}), 1),
        ("", 1),
        (Custom("x"), 1),
    ],
)
def test_only_steps_and_usage_may_come_before_another_attempt(kind: str, first: Any, attempts: int) -> None:
    calls = []

    def script() -> Iterator[Any]:
        calls.append(1)
        yield first
        if len(calls) < 3:
            raise OSError("passes")
        yield "done"

    run, store = run_to_end(script, kind)
    assert len(calls) == attempts
    value = store.turns[0].entry.value
    if attempts == 3:
        assert kinds(run.log) == [*[first.event_kind, "restart"] * 2, first.event_kind, "done"]
        assert value["answer"]["content"] == "done"
        assert [event["kind"] for event in value["events"][:-1]] == [first.event_kind], "of the last attempt"
    else:
        assert value["state"] == "failed"


def test_no_attempt_follows_after_something_was_emitted() -> None:
    def script(message: Message[Any], stream: bool) -> Any:
        def pieces() -> Iterator[str]:
            get_context().emit(ToolCall("1", "f", {}))
            raise OSError("passes")
            yield ""

        return Message(pieces())

    engine, _, component = engine_of(script)
    engine.start(ask(stream=True)).log.wait_outcome()
    assert component.calls == 1


# Folding


EVENTS = st.one_of(
    st.text(max_size=5),
    st.builds(Reasoning, st.text(max_size=3)),
    st.builds(ToolCall, st.sampled_from("ab"), st.just("f"), st.text(max_size=3)),
    st.builds(ToolResult, st.sampled_from("ab"), st.integers()),
    st.builds(Step, st.sampled_from("ab"), st.text(max_size=3)),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.builds(Custom, st.text(max_size=3), st.integers()),
)


@given(st.lists(EVENTS, max_size=12))
def test_a_stored_turn_has_the_text_and_the_order_of_its_log(said: list[Any]) -> None:
    log = log_of(said)
    folded = fold(log.entries, log.others)
    value: dict[str, Any] = {"answer": {"content": folded.content}}
    if folded.events:
        value["events"] = folded.events
    again = list(stored_events(json.loads(dumps(value))))
    assert [event.seq for event in again] == list(range(1, len(again) + 1))
    text = "".join(
        event.data["delta"] if event.kind == "text" else dumps(event.data["value"]).decode()
        for event in again
        if event.kind in ("text", "output")
    )
    assert text == answer_text(log.entries)
    assert order(again) == order(log.events(0, log.entries))


def order(events: list[RunEvent]) -> list[Any]:
    """What stands where: the first of what has an id, runs of text and reasoning as one."""
    seen: list[Any] = []
    for event in events:
        name = (event.kind, event.data.get("id")) if event.kind in ("step", "tool_call") else (event.kind,)
        if event.kind == "text" and not event.data["delta"]:
            continue
        joins = event.kind in ("text", "reasoning") and seen and seen[-1] == name
        if not joins and not (len(name) == 2 and name in seen):
            seen.append(name)
    return seen


def test_parts_are_joined_once_however_many_there_are() -> None:
    log = log_of([*[Reasoning("x")] * 100_000, *[ToolCall("1", "f", "y")] * 100_000])
    assert fold(log.entries, log.others).events == [
        {"kind": "reasoning", "data": {"delta": "x" * 100_000}},
        {"kind": "tool_call", "data": {"id": "1", "name": "f", "arguments": "y" * 100_000}},
    ]


def test_rows_of_older_code_are_read() -> None:
    model = {"kind": "model", "id": "1", "model": "m", "prompt": [], "answer": "x", "usage": {},
             "milliseconds": 3, "started_at": "2026-01-02T03:04:05", "error": ""}
    event = {"kind": "event", "id": "2", "name": "rag", "detail": {"a": 1}, "started_at": "", "error": "bad"}
    value = {"answer": {"content": 'a{"x":1}'}, "steps": [model, event, "odd"], "pieces": ["a", {"x": 1}]}
    first, second, text, output = stored_events(value)
    assert (first.kind, first.data["name"]) == ("step", "m")
    assert first.data["detail"] == {"prompt": [], "answer": "x"}
    assert (second.data["name"], second.data["detail"], second.data["error"]) == ("rag", {"a": 1}, "bad")
    assert (text.data, output.data) == ({"delta": "a"}, {"value": {"x": 1}})
    assert [each.data for each in stored_events({"answer": {"content": "all"}})] == [{"delta": "all"}]


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"events": 5},
        {"answer": 5, "events": [None, "x", {}, {"kind": "step"}, -1]},
        {"steps": 1, "pieces": {}},
    ],
)
def test_odd_rows_are_read_all_the_same(odd: Any) -> None:
    list(stored_events(odd))


# Readers that are behind


def readers_at(*taken: int) -> list[Position]:
    found = []
    for each in taken:
        reader = Position()
        reader.taken = each
        found.append(reader)
    return found


@pytest.mark.parametrize(
    ("said", "taken", "waits", "cut"),
    [
        (100, [], False, []),
        (100, [0], False, []),
        (101, [0], True, []),
        (101, [0, 1], False, [0]),
        (101, [0, 0], True, []),
        (500, [450, 399, 400, 0], False, [1, 3]),
    ],
)
def test_the_fastest_reader_holds_a_writer_back_and_others_are_cut(
    said: int, taken: list[int], waits: bool, cut: list[int]
) -> None:
    readers = readers_at(*taken)
    assert lagging(said, readers, 100) == (waits, [readers[number] for number in cut])


@given(st.integers(0, 1000), st.lists(st.integers(0, 1000), max_size=5), st.integers(1, 500))
def test_a_writer_never_waits_for_one_while_another_reads_on(said: int, taken: list[int], most: int) -> None:
    readers = readers_at(*(min(each, said) for each in taken))
    waits, cut = lagging(said, readers, most)
    assert not (waits and cut)
    assert waits == (bool(readers) and all(said - reader.taken > most for reader in readers))
    assert all(said - reader.taken <= most for reader in readers if reader not in cut) or waits


@BOTH
def test_a_component_waits_for_its_reader(kind: str) -> None:
    made = threading.Semaphore(0)
    count = [0]

    def script() -> Iterator[str]:
        for _ in range(100):
            count[0] += 1
            made.release()
            yield "x" * 16_000

    engine: Any
    if kind == "threads":
        engine, _, _ = engine_of(streamed(script), max_unread=64_000)
    else:
        engine, _ = async_engine(streamed_async(script), max_unread=64_000)
    began = threading.Event()
    held = ask(stream=True, guard=lambda: began.wait(10))
    run = engine.start(held)
    reader = LogReader(run.log)
    began.set()
    for _ in range(4):
        assert made.acquire(timeout=10)
    assert not made.acquire(timeout=0.2), "it has said as much as may be unread"
    text: list[str] = []
    while (outcome := run.log.outcome) is None or reader.cursor < len(run.log.entries):
        assert count[0] * 16_000 - sum(map(len, text)) <= 64_000 + 3 * 16_064
        reader.wait(10)
        if batch := reader.take():
            text.append(answer_text(batch.entries))
    reader.close()
    assert outcome.error is None
    assert "".join(text) == "x" * 1_600_000


@BOTH
def test_a_reader_that_takes_nothing_is_cut_and_the_run_goes_on(kind: str) -> None:
    script = lambda: iter(["x" * 16_000] * 50)  # noqa: E731
    settings = {"max_unread": 64_000, "write_timeout": 0.2}
    engine: Any
    if kind == "threads":
        engine, _, _ = engine_of(streamed(script), **settings)
    else:
        engine, _ = async_engine(streamed_async(script), **settings)
    began = threading.Event()
    run = engine.start(ask(stream=True, guard=lambda: began.wait(10)))
    reader = LogReader(run.log)
    began.set()
    assert run.log.wait_outcome().error is None
    batch = reader.take()
    assert batch is not None
    assert batch.outcome is not None
    assert "not read fast enough" in str(batch.outcome.error)


@BOTH
@pytest.mark.parametrize("how", ["stopped", "left"])
def test_a_component_that_waits_for_a_reader_can_be_stopped(kind: str, how: str) -> None:
    said = threading.Semaphore(0)

    def script() -> Iterator[str]:
        for _ in range(50):
            said.release()
            yield "x" * 16_000

    engine: Any
    if kind == "threads":
        engine, _, _ = engine_of(streamed(script), max_unread=32_000)
    else:
        engine, _ = async_engine(streamed_async(script), max_unread=32_000)
    began = threading.Event()
    run = engine.start(ask(stream=True, guard=lambda: began.wait(10)))
    reader = LogReader(run.log)
    began.set()
    for _ in range(2):
        assert said.acquire(timeout=10)
    if how == "stopped":
        run.cancel(TurnCancelled("stop"))
        assert isinstance(run.log.wait_outcome().error, TurnCancelled)
    else:
        reader.close()
        assert run.log.wait_outcome().error is None


def test_without_readers_a_run_goes_on() -> None:
    engine, _, _ = engine_of(streamed(lambda: iter(["x" * 16_000] * 50)), max_unread=1)
    assert engine.start(ask(stream=True)).log.wait_outcome().error is None


# On the wire


class Telling(Component):
    def run(self, message: Message[Any], stream: bool) -> Message[Any]:
        return Message(iter(["a", Reasoning("why"), ToolCall("1", "f", {"q": 1}), "b"]))


def events_on_the_wire(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.strip().split("\n\n"):
        name, _, data = block.rpartition("data: ")
        found.append((name.removeprefix("event: ").strip(), json.loads(data)))
    return found


def test_all_events_are_streamed_where_they_are_asked_for(tmp_path: Path) -> None:
    client = FlaskRuntime(Telling(), f"sqlite:///{tmp_path}/a.db").create_flask_app().test_client()
    usual = client.post("/chat", json={"message": "q", "stream": True})
    assert [name for name, _ in events_on_the_wire(usual.text)] == ["", "", ""]
    everything = client.post(
        "/chat", json={"message": "q", "stream": True}, headers={"X-Appbuilder-Events": "all"}
    )
    events = events_on_the_wire(everything.text)
    assert [name for name, _ in events] == ["", "reasoning", "tool_call", "", ""]
    thought = events[1][1]
    assert (thought["seq"], thought["kind"], thought["data"]) == (2, "reasoning", {"delta": "why"})
    assert events[2][1]["data"] == {"id": "1", "name": "f", "arguments": {"q": 1}}
    contents = [data["result"]["answer_message"]["content"] for name, data in events if not name]
    assert contents == ["a", "b", ""]


def test_a_wrong_value_of_the_header_is_refused(tmp_path: Path) -> None:
    client = FlaskRuntime(Telling(), f"sqlite:///{tmp_path}/a.db").create_flask_app().test_client()
    answer = client.post("/chat", json={"message": "q"}, headers={"X-Appbuilder-Events": "some"})
    assert answer.status_code == 400
    assert "X-Appbuilder-Events must be all." in answer.text


def test_the_events_are_importable_without_servers_or_databases() -> None:
    assert {
        "text", "reasoning", "tool_call", "tool_result", "step", "file", "state", "usage", "custom",
    } == KINDS
    assert dump(Message("x"))["content"] == "x"
    assert entry_of(Text("x")) is not None
