"""Engines on the memory store, for components that run what a test gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.memory_store import MemoryStore
from tests.unit.logs import pieces_in

from appbuilder.core.component import Component
from appbuilder.core.message import Message
from appbuilder.core.store import TurnRecord
from appbuilder.core.user_session import UserSession
from appbuilder.engine.engine import Engine, Run
from appbuilder.engine.turn_request import TurnRequest
from appbuilder.errors import StoreUnavailable
from appbuilder.settings import Settings

FAST = {"retry_backoff": 0.0, "session_wait": 10.0}


class CountingStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.turns: list[TurnRecord] = []
        self.fail = False

    def commit(self, turn: TurnRecord) -> None:
        if self.fail:
            raise StoreUnavailable("no database")
        super().commit(turn)
        self.turns.append(turn)


class Scripted(Component):
    """Runs what the test gives it."""

    def __init__(self, script: Callable[..., Any]) -> None:
        super().__init__()
        self.script = script
        self.calls = 0

    def run(self, message: Message[Any], stream: bool, **args: Any) -> Any:
        self.calls += 1
        return self.script(message, stream, **args)


def engine_of(script: Callable[..., Any], **settings: Any) -> tuple[Engine, CountingStore, Scripted]:
    store, component = CountingStore(), Scripted(script)
    return Engine(component, store, Settings(**{**FAST, **settings})), store, component


def ask(**members: Any) -> TurnRequest:
    return TurnRequest(**{"message": "hi", "session_id": "s", **members})


def text_from(run: Run, cursor: int = 0) -> str:
    run.log.wait_outcome()
    return "".join(pieces_in(run.log)[cursor:])


def remember(message: Message[Any], answer: Message[Any]) -> Message[Any]:
    UserSession().append({"query": message, "answer": answer})
    return answer


class Awaiting:
    """An asynchronous component; it has no ``run``."""

    def __init__(self, script: Callable[..., Any]) -> None:
        self.script = script

    async def arun(self, message: Message[Any], stream: bool, **args: Any) -> Any:
        return await self.script(message, stream, **args)


def async_engine(script: Callable[..., Any], **settings: Any) -> tuple[Engine, CountingStore]:
    store = CountingStore()
    return Engine(Awaiting(script), store, Settings(**{**FAST, **settings})), store
