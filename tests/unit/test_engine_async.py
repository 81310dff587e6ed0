"""Asynchronous components through the engine: the same turn, awaited on one loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.memory_store import MemoryStore
from tests.unit.engines import ask, async_engine, engine_of, remember, text_from

from appbuilder.core.component import Component
from appbuilder.core.message import Message
from appbuilder.core.user_session import UserSession
from appbuilder.engine.engine import Engine
from appbuilder.engine.reader import ended
from appbuilder.errors import (
    ComponentError,
    TurnCancelled,
)
from appbuilder.settings import Settings
from appbuilder.utils.flask_deploy import FlaskRuntime


def test_an_asynchronous_component_blocks_and_streams_alike() -> None:
    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        async def pieces() -> AsyncIterator[str]:
            for piece in "abc":
                await asyncio.sleep(0)
                yield piece

        return remember(message, Message(pieces() if stream else "abc"))

    engine, store = async_engine(script)
    assert text_from(engine.start(ask(stream=True))) == "abc"
    outcome = engine.execute(ask()).log.wait_outcome()
    assert outcome.answer is not None
    assert outcome.answer["content"] == "abc"
    assert [row["content"] for turn in store.turns for _, row in turn.rows] == ["hi", "abc"] * 2


def test_an_asynchronous_component_is_retried_and_fails_alike() -> None:
    attempts: list[int] = []

    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        async def pieces() -> AsyncIterator[str]:
            attempts.append(1)
            if len(attempts) < 3:
                raise RuntimeError("not yet")
            yield "at last"

        return remember(message, Message(pieces()))

    engine, store = async_engine(script)
    assert text_from(engine.start(ask(stream=True))) == "at last"
    assert len(store.turns) == 1

    async def broken(message: Message[Any], stream: bool) -> Message[Any]:
        raise SystemExit(3)

    engine, _ = async_engine(broken)
    assert isinstance(engine.execute(ask()).log.wait_outcome().error, ComponentError)


def test_a_component_that_blocks_its_loop_does_not_block_the_loop_it_is_called_from() -> None:
    blocks, free = threading.Event(), threading.Event()

    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        blocks.set()
        return Message(str(free.wait(20)))

    async def serve() -> Any:
        log = async_engine(script)[0].start(ask()).log
        assert await asyncio.to_thread(blocks.wait, 20)
        free.set()  # by what the blocked loop would have to do
        return (await ended(log)).answer

    answer = asyncio.run(serve())
    assert answer is not None
    assert answer["content"] == "True"


def test_a_system_exit_while_a_stream_is_closed_leaves_the_loop_running() -> None:
    began = threading.Event()

    class Chunks:
        def __aiter__(self) -> Chunks:
            return self

        async def __anext__(self) -> str:
            began.set()
            await asyncio.sleep(60)
            raise AssertionError

        async def aclose(self) -> None:
            async with asyncio.timeout(20):  # which is not broken off, unlike the step before it
                await asyncio.sleep(0)
            raise SystemExit(3)

    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        return Message(Chunks() if stream else "ok")

    engine, _ = async_engine(script)
    run = engine.start(ask(stream=True))
    assert began.wait(20)
    run.cancel(TurnCancelled("Stopped."))
    assert isinstance(run.log.wait_outcome().error, TurnCancelled)
    assert engine.execute(ask()).log.wait_outcome().error is None


def test_an_asynchronous_turn_is_cut_at_once_and_closed_once() -> None:
    closed: list[str] = []
    waits = threading.Event()

    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        async def pieces() -> AsyncIterator[str]:
            try:
                yield "part"
                waits.set()
                await asyncio.sleep(3600)
            finally:
                closed.append("closed")

        return remember(message, Message(pieces()))

    engine, store = async_engine(script)
    run = engine.start(ask(stream=True))
    run.attach()
    assert waits.wait(10)
    run.detach()
    assert isinstance(run.log.wait_outcome().error, TurnCancelled)
    assert closed == ["closed"]
    assert store.turns[0].rows[1][1]["content"] == "part"
    assert store.turns[0].rows[1][1]["state"] == "incomplete"


def test_a_thousand_asynchronous_turns_take_no_thread_each() -> None:
    gate = asyncio.Event()

    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        async def pieces() -> AsyncIterator[str]:
            await gate.wait()
            yield str(message.content)

        return Message(pieces())

    engine, _ = async_engine(script)
    before = threading.active_count()
    runs = [engine.start(ask(stream=True, session_id=str(n), message=str(n))) for n in range(1000)]
    assert threading.active_count() - before < 40

    from appbuilder.engine.threads.event_loop import portal

    portal().loop.call_soon_threadsafe(gate.set)
    assert [text_from(run) for run in runs] == [str(n) for n in range(1000)]


def test_a_synchronous_run_may_return_an_asynchronous_stream() -> None:
    async def pieces() -> AsyncIterator[str]:
        for piece in "abc":
            await asyncio.sleep(0)
            yield piece

    engine, _, _ = engine_of(lambda message, stream: Message(pieces()))
    assert text_from(engine.start(ask(stream=True))) == "abc"


def test_an_asynchronous_run_may_return_a_synchronous_stream() -> None:
    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        return Message(iter("abc"))

    engine, _ = async_engine(script)
    assert text_from(engine.start(ask(stream=True))) == "abc"


def test_turns_that_wait_for_their_session_do_not_keep_others_from_their_commit() -> None:
    """More of them than the loop's pool has threads."""
    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        await asyncio.sleep(0)
        return remember(message, Message("ok"))

    engine, store = async_engine(script, session_wait=5.0)
    runs = [engine.start(ask(session_id=str(n % 4))) for n in range(64)]
    assert [run.log.wait_outcome().error for run in runs] == [None] * 64
    assert len(store.turns) == 64


class AwaitedRun:
    async def run(self, message: Message[Any], stream: bool) -> Any:
        return "awaited"


class Generated:
    async def arun(self, message: Message[Any], stream: bool) -> Any:
        yield "a"
        yield "b"


@pytest.mark.parametrize(("component", "text"), [(AwaitedRun(), "awaited"), (Generated(), "ab")])
def test_a_run_may_be_asynchronous_and_an_arun_a_generator(component: Any, text: str) -> None:
    engine = Engine(component, MemoryStore(), Settings())
    assert text_from(engine.start(ask(stream=True))) == text
    outcome = engine.execute(ask()).log.wait_outcome()
    assert outcome.answer is not None
    assert outcome.answer["content"] == text


def test_chat_gives_a_message_that_can_be_read_where_it_is_called(tmp_path: Path) -> None:
    class Remembering(Component):
        async def arun(self, message: Message[Any], stream: bool = False) -> Any:
            earlier = UserSession().get_history("query", 1)
            UserSession().append({"query": message})
            yield message.content
            yield str(len(earlier))

    class Plain:
        def run(self, message: Message[Any], stream: bool = False) -> Any:
            return {"at": 1}

    def talk() -> None:
        agent = FlaskRuntime(Remembering(), f"sqlite:///{tmp_path}/a.db")
        assert list(agent.chat(Message("hi"), stream=True).content) == ["hi", "0"]
        assert list(agent.chat(Message("hi"), stream=True).content) == ["hi", "1"]
        assert FlaskRuntime(Plain(), f"sqlite:///{tmp_path}/a.db").chat(Message("hi")).content == {"at": 1}

    contextvars.copy_context().run(talk)


def test_an_asynchronous_stream_that_was_appended_but_not_sent_is_stored_whole() -> None:
    async def aside() -> AsyncIterator[str]:
        yield "x"
        yield "y"

    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        UserSession().append({"aside": Message(aside())})
        return Message("a")

    engine, store = async_engine(script)
    engine.execute(ask())
    assert store.turns[0].rows[0][1]["content"] == "xy"


def test_what_an_asynchronous_stream_sets_its_next_step_finds() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="clean")

    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        async def pieces() -> AsyncIterator[str]:
            for n in range(3):
                token = variable.set(str(n))
                yield variable.get()
                variable.reset(token)  # an error in another context

        return Message(pieces())

    engine, _ = async_engine(script)
    assert text_from(engine.start(ask(stream=True))) == "012"
    assert variable.get() == "clean"
