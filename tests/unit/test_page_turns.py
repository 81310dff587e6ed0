"""The page's turns, on an engine with the memory store."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from tests.unit.engines import engine_of

from appbuilder import Message
from appbuilder.engine.engine import Engine, Run
from appbuilder.engine.turn import TurnRequest
from appbuilder.ids import new_id
from appbuilder.serve.chainlit.identity import Identity
from appbuilder.serve.chainlit.turns import PageTurns


class Hurried:
    """An engine whose turns have ended by the time anybody looks at them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def start(self, request: TurnRequest, *, on_disconnect: str) -> Run:
        run = self._engine.start(request, on_disconnect=on_disconnect)
        run.log.wait_outcome()
        return run


class Browser:
    """Chainlit's session of a browser, which keeps what it was sent."""

    def __init__(self) -> None:
        self.id, self.thread_id = new_id(), new_id()
        self.steps: list[dict[str, Any]] = []

    async def emit(self, event: str, data: dict[str, Any]) -> None:
        if event in {"stream_start", "new_message", "update_message"}:
            self.steps.append(data)


def test_a_turn_that_ends_before_it_is_looked_at_is_shown() -> None:
    engine, _, _ = engine_of(lambda message, stream: Message(iter(["a", "b"])))
    browser = Browser()

    async def ask() -> None:
        turns = PageTurns(lambda: cast("Engine", Hurried(engine)), "bot", debug=False)
        question = SimpleNamespace(id=new_id(), content="hi")
        await turns.ask(browser, Identity("local", "local"), "en", question)
        this = asyncio.current_task()
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not this))

    asyncio.run(ask())
    shown = [step["output"] for step in browser.steps if step["type"] == "assistant_message"]
    assert shown == ["ab", "ab"], "as it grew, and whole"
    assert browser.steps[-1]["type"] == "run"
    assert browser.steps[-1]["end"]


def question(words: str) -> SimpleNamespace:
    return SimpleNamespace(id=new_id(), content=words)


def ends(browser: Browser) -> int:
    return sum(1 for step in browser.steps if step["type"] == "run" and step["end"])


def test_a_second_question_does_not_cut_the_first_answers_end() -> None:
    engine, _, _ = engine_of(lambda message, stream: Message(iter([message.content])))
    browser = Browser()
    held = asyncio.Event()

    async def slowly(event: str, data: dict[str, Any]) -> None:
        if data.get("type") == "run" and data["end"]:
            await held.wait()  # the first turn has ended, and its end is not said yet
        await Browser.emit(browser, event, data)

    browser.emit = slowly  # type: ignore[method-assign]

    async def ask() -> None:
        turns = PageTurns(lambda: cast("Engine", Hurried(engine)), "bot", debug=False)
        local = Identity("local", "local")
        await turns.ask(browser, local, "en", question("one"))
        await turns.ask(browser, local, "en", question("two"))
        held.set()
        this = asyncio.current_task()
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not this))

    asyncio.run(ask())
    assert ends(browser) == 2


def test_a_browser_that_comes_back_sees_the_end_it_missed() -> None:
    engine, _, _ = engine_of(lambda message, stream: Message(iter([message.content])))
    browser = Browser()

    async def ask() -> None:
        turns = PageTurns(lambda: cast("Engine", Hurried(engine)), "bot", debug=False)
        await turns.ask(browser, Identity("local", "local"), "en", question("one"))
        this = asyncio.current_task()
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not this))
        browser.steps.clear()  # as if the connection had been gone
        turns.watch(browser, "en")
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not this))

    asyncio.run(ask())
    assert "one" in [step["output"] for step in browser.steps if step["type"] == "assistant_message"]
    assert ends(browser) == 1
