"""The page's turns on their event loop: asked, watched, stopped, and forgotten when they have ended."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.unit.engines import CountingStore, engine_of, remember

from appbuilder import clock
from appbuilder.core.conversations import Conversation, StoredRow
from appbuilder.core.message import AnswerMessage, Message
from appbuilder.core.store import TURN_KEY
from appbuilder.engine.engine import Engine, Run
from appbuilder.engine.log import Outcome, RunLog
from appbuilder.errors import Draining
from appbuilder.ids import new_id
from appbuilder.jsontext import dumps
from appbuilder.protocols.rest import transcript
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.page import threads
from appbuilder.serve.page.page_requests import MOST_BODY
from appbuilder.serve.page.page_turns import PageTurns
from appbuilder.serve.page.screen import LiveTurn
from appbuilder.serve.page.tabs import Tabs
from appbuilder.serve.page.turn_window import Window

ANN, BOB = Identity("ann", "user:ann"), Identity("bob", "user:bob")


@dataclass(eq=False)
class Session:
    """A browser's page, as Chainlit's session is one."""

    thread_id: str = "thread"
    id: str = field(default_factory=new_id)
    events: list[tuple[str, Any]] = field(default_factory=list)
    user: Any = None

    async def emit(self, event: str, data: Any) -> None:
        self.events.append((event, data))

    async def all_shown(self) -> None:
        """Waits until the turns were shown: whoever asks knows the end before it is on the page."""
        while [name for name, _ in self.events][-1:] != ["task_end"]:
            await asyncio.sleep(0.005)

    @property
    def answers(self) -> list[str]:
        """What is shown of answers and errors."""
        shown = {
            data["id"]: data["output"]
            for name, data in self.events
            if name in {"new_message", "stream_start"} and data["type"] == "assistant_message"
        }
        return list(shown.values())


@dataclass(frozen=True)
class User:
    identifier: str


@dataclass
class Said:
    content: Any
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    elements: list[Any] = field(default_factory=list)


def echo(message: Message[Any], stream: bool) -> Message[Any]:
    return remember(message, Message(iter([message.content, "!"])))


def turns_of(
    script: Callable[..., Any], *, tabs: Tabs | None = None, limit: int = MOST_BODY, **settings: Any
) -> tuple[PageTurns, Engine, CountingStore]:
    engine, store, _ = engine_of(script, **settings)
    return PageTurns(lambda: engine, "Assistant", debug=False, tabs=tabs, limit=limit), engine, store


def on_a_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Runs *work* on an event loop in a thread: one that hangs is a failure, not a hang."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "the event loop hangs"
    if errors:
        raise errors[0]


def test_a_turn_is_asked_shown_kept_and_forgotten() -> None:
    turns, _, store = turns_of(echo)
    session = Session()

    async def work() -> None:
        await turns.ask(session, ANN, "en", Said("hello"))
        await asyncio.sleep(0)
        assert turns.live("thread") == []
        assert turns.begun_by(ANN.owner) == []
        await session.all_shown()

    on_a_loop(work)
    assert session.answers == ["hello!"]
    [turn] = store.turns
    assert turn.entry is not None
    assert (turn.entry.owner, turn.entry.value["state"]) == (ANN.owner, "complete")
    assert session.events[0][0] == "task_start"
    assert session.events[-1][0] == "task_end"


@pytest.mark.parametrize(
    ("language", "reason", "line"),
    [
        ("en", "length", "*⚠ The answer was cut at the length limit.*"),
        ("zh-CN", "length", "*⚠ 回答达到长度上限，在此截断。*"),
        ("en", "content_filter", "*⚠ The answer was cut by the content filter.*"),
        ("zh-CN", "content_filter", "*⚠ 回答被内容过滤器截断。*"),
        ("en", "ab`ort", "*⚠ The answer ended early* (`abort`)"),
        ("en", {"a": 1}, ""),
    ],
)
def test_an_answer_that_is_not_whole_says_so_live_and_when_opened_again(
    language: str, reason: Any, line: str
) -> None:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        return AnswerMessage(iter(["half"]), extra={"finish_reason": reason})

    turns, _, store = turns_of(script)
    session = Session()

    async def work() -> None:
        await turns.ask(session, ANN, language, Said("hello"))
        await session.all_shown()

    on_a_loop(work)
    said = f"half\n\n{line}" if line else "half"
    assert session.answers == [said]
    (turn,) = store.turns
    assert turn.entry is not None
    row = StoredRow("t" * 36, "r", TURN_KEY, json.loads(dumps(turn.entry.value)), clock.now())
    talk = Conversation("thread", "user:ann", "title", row.created_at, row.created_at)
    window = Window(list(transcript.turns([row])), [], None)
    again = threads.opened(talk, "ann", window, author="A", language=language)
    assert again["steps"][-1]["output"] == said


def test_what_cannot_be_asked_is_refused_in_words() -> None:
    turns, engine, store = turns_of(echo)
    session = Session()

    async def work() -> None:
        for said in (Said("\ud800"), Said(5), Said("x", id="no id"), Said("x", id=str(uuid.uuid1()))):
            await turns.ask(session, ANN, "en", said)
        assert len([line for line in session.answers if "cannot be read" in line]) == 4
        engine.drain(0)
        await turns.ask(session, ANN, "zh-CN", Said("late"))

    on_a_loop(work)
    assert "服务正在停止" in session.answers[-1]
    assert store.turns == []


def test_a_turn_that_has_ended_and_is_not_forgotten_yet_does_not_stop_the_loop() -> None:
    turns, _, _ = turns_of(echo)
    log = RunLog()
    log.finish(Outcome(error=Draining("x")))
    turn: Any = type("Turn", (), {"log": log, "request": None})()
    ended = LiveTurn(ANN.owner, "q", clock.now(), new_id(), Run(turn, cancel_when_left=False))

    async def work() -> None:
        turns._live["thread"] = [ended]
        asyncio.get_running_loop().call_later(0.05, turns._live["thread"].remove, ended)
        await turns.ask(Session(), ANN, "en", Said("hello"))

    on_a_loop(work)


def held(gate: threading.Event) -> Callable[..., Any]:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[str]:
            yield "a"
            gate.wait(15)
            yield "b"

        return remember(message, Message(pieces()))

    return script


def test_several_browsers_watch_one_turn_from_its_beginning() -> None:
    gate = threading.Event()
    turns, _, _ = turns_of(held(gate))
    first, late = Session(), Session()

    async def work() -> None:
        asked = asyncio.create_task(turns.ask(first, ANN, "en", Said("q")))
        while first.answers != ["a"]:
            await asyncio.sleep(0.005)
        turns.watch(late, "en")
        while late.answers != ["a"]:
            await asyncio.sleep(0.005)
        assert [turn.words for turn in turns.begun_by(ANN.owner)] == ["q"]
        assert turns.begun_by(BOB.owner) == []
        gate.set()
        await asked
        await first.all_shown()
        await late.all_shown()

    on_a_loop(work)
    assert first.answers == late.answers == ["ab"]


def test_stopping_ends_those_that_run_and_those_that_wait() -> None:
    gate = threading.Event()
    turns, _, store = turns_of(held(gate))
    session, other = Session(), Session("another")

    async def work() -> None:
        asked = [asyncio.create_task(turns.ask(session, ANN, "en", Said(words))) for words in ("one", "two")]
        elsewhere = asyncio.create_task(turns.ask(other, BOB, "en", Said("three")))
        while not (session.answers and other.answers):
            await asyncio.sleep(0.005)
        await turns.stop("thread")
        gate.set()
        await turns.stop_and_wait("thread")
        await asyncio.gather(*asked, elsewhere)
        await other.all_shown()

    on_a_loop(work)
    states = {turn.entry.title: turn.entry.value["state"] for turn in store.turns if turn.entry}
    assert states == {"one": "incomplete", "three": "complete"}
    assert other.answers == ["ab"]


def test_an_answer_is_made_though_nobody_watches() -> None:
    gate = threading.Event()
    turns, engine, store = turns_of(held(gate))

    async def work() -> None:
        session = Session()
        asked = asyncio.create_task(turns.ask(session, ANN, "en", Said("q")))
        while not session.answers:
            await asyncio.sleep(0.005)
        asked.cancel()

    on_a_loop(work)
    gate.set()
    engine.drain(10)
    assert [turn.entry and turn.entry.value["answer"]["content"] for turn in store.turns] == ["ab"]
    assert [row.key for row in store.repository().rows("thread", 9)] == ["query", "answer", TURN_KEY]


# Several pages on one conversation


@dataclass(eq=False)
class Tab(Session):
    """A page with what :class:`Tabs` looks at."""

    language: str = "en"
    has_first_interaction: bool = True


def tabs_of(*sessions: Any) -> Tabs:
    return Tabs({session.id: session for session in sessions})


def test_other_pages_of_the_same_user_show_a_turn_too() -> None:
    ann, bob = User(ANN.owner), User(BOB.owner)
    asker, same, away = Tab(user=ann), Tab(user=ann), Tab(user=ann)
    elsewhere, another, unknown = Tab("other", user=ann), Tab(user=bob), Tab()
    tabs = tabs_of(asker, same, away, elsewhere, another, unknown)
    turns, _, _ = turns_of(remember, tabs=tabs)

    async def work() -> None:
        tabs.left(away)
        await turns.ask(asker, ANN, "en", Said("q"))
        await asker.all_shown()
        await same.all_shown()

    on_a_loop(work)
    assert same.answers == asker.answers != []
    assert [each.events for each in (away, elsewhere, another, unknown)] == [[], [], [], []]
    assert tabs.came_back(away)
    assert not tabs.came_back(away)
    assert tabs.others(asker) == [same, away]


def test_a_question_that_waited_is_shown_below_what_it_waited_for() -> None:
    gate = threading.Event()
    one, two = Tab(user=User(ANN.owner)), Tab(user=User(ANN.owner))
    turns, _, _ = turns_of(held(gate), tabs=tabs_of(one, two))
    first, second = Said("first"), Said("second")

    async def work() -> None:
        asked = [asyncio.create_task(turns.ask(one, ANN, "en", first))]
        while not turns.live("thread"):
            await asyncio.sleep(0.005)
        asked.append(asyncio.create_task(turns.ask(two, ANN, "en", second)))
        while len(turns.live("thread")) < 2:
            await asyncio.sleep(0.005)
        gate.set()
        await asyncio.gather(*asked)
        for each in (one, two):
            while [name for name, _ in each.events].count("task_end") < 2:
                await asyncio.sleep(0.005)

    on_a_loop(work)
    for each in (one, two):
        said = [data["output"] for name, data in each.events
                if name == "new_message" and data["type"] == "user_message"]
        assert said == ["first", "second"]
        assert [data["id"] for name, data in each.events if name == "delete_message"] == [second.id]


def test_pages_are_told_of_a_deletion_and_of_a_new_name() -> None:
    ann = User(ANN.owner)
    here, there = Tab(user=ann), Tab("other", user=ann)
    fresh = Tab("new", user=ann, has_first_interaction=False)
    tabs = tabs_of(here, there, fresh)
    asyncio.run(tabs.notify_deleted("thread"))
    assert here.events == [("window_message", {"appbuilder": "deleted"})]
    assert there.events == []
    asyncio.run(tabs.notify_renamed(ANN.owner))
    assert [name for name, _ in here.events[1:] + there.events] == ["first_interaction", "first_interaction"]
    assert there.events[0][1]["thread_id"] == "other"
    assert fresh.events == []


def test_a_message_over_the_limit_is_refused_and_not_repeated() -> None:
    turns, _, _ = turns_of(remember, limit=10_000)
    fits, over = Session(), Session()

    async def work() -> None:
        await turns.ask(fits, ANN, "en", Said("字" * 3332))
        await fits.all_shown()
        await turns.ask(over, ANN, "en", Said("字" * 3333))

    on_a_loop(work)
    assert "at most" not in fits.answers[0]
    assert over.answers[0].startswith("A message has at most 10000 bytes.")
    assert all(len(data["output"]) <= 1001 for name, data in over.events if name == "new_message")
