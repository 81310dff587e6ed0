"""What the service asks of the engine beside turns: which are under way, stopping one, a limit on their time,
and whose a session is; and commits that nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.unit.engines import CountingStore, Scripted, ask, async_engine, engine_of, remember
from tests.unit.logs import pieces_in

from appbuilder.core.cancel import CancelToken
from appbuilder.core.context import get_context
from appbuilder.core.message import Message
from appbuilder.core.store import INCOMPLETE, TurnRecord
from appbuilder.engine.engine import Engine, Run
from appbuilder.engine.persistence import RetentionPolicy
from appbuilder.errors import (
    ComponentError,
    NotFound,
    Overloaded,
    StoreUnavailable,
    TurnCancelled,
    TurnTimeout,
)
from appbuilder.settings import Settings

Told = Callable[[BaseException | None], None]
QUICK = Settings(retry_backoff=0.0, session_wait=10.0)


def held(message: Message[Any], stream: bool) -> Message[Any]:
    """Says "a", and no more until it is stopped."""
    stopped = threading.Event()
    get_context().cancel_token.on_cancel(stopped.set)

    def pieces() -> Iterator[str]:
        yield "a"
        assert stopped.wait(30)

    return remember(message, Message(pieces()))


def keep() -> RetentionPolicy:
    return RetentionPolicy("turn", "user:ann", lambda error: {"kind": type(error).__name__})


def states(store: CountingStore) -> list[Any]:
    (turn,) = store.turns
    return [(key, value.get("state")) for key, value in turn.rows]


# Runs


def test_runs_tell_what_is_under_way_and_one_can_be_stopped() -> None:
    engine, store, _ = engine_of(held)
    first = engine.start(ask(stream=True, keep=keep()))
    assert first.log.wait(0, 10)
    second = engine.start(ask())  # waits for the session
    live = {run.id: run for run in engine.runs()}
    assert live.keys() == {first.request.run_id, second.request.run_id}
    one, two = live[first.request.run_id], live[second.request.run_id]
    assert (one.session_id, one.owner, one.state, one.pieces) == ("s", "user:ann", "running", 1)
    assert (two.owner, two.state, two.pieces) == (None, "waiting", 0)
    assert one.started_at <= two.started_at

    assert engine.stop_run(two.id)
    assert isinstance(second.log.wait_outcome().error, TurnCancelled)
    assert engine.stop_run(one.id)
    assert isinstance(first.log.wait_outcome().error, TurnCancelled)
    engine.drain(10)
    assert engine.runs() == []
    assert states(store) == [("query", INCOMPLETE), ("answer", INCOMPLETE)]
    assert not engine.stop_run(one.id)
    assert not engine.stop_run("another")


def test_a_run_that_does_not_listen_is_told_as_stopping() -> None:
    go, begun = threading.Event(), threading.Event()

    def deaf(message: Message[Any], stream: bool) -> Message[Any]:
        begun.set()
        assert go.wait(30)
        return Message("late")

    engine, _, _ = engine_of(deaf)
    run = engine.start(ask())
    assert begun.wait(10)
    assert engine.stop_run(run.request.run_id)
    assert [each.state for each in engine.runs()] == ["stopping"]
    go.set()
    assert isinstance(run.log.wait_outcome().error, TurnCancelled)


# The limit on a turn's time


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_turn_that_takes_too_long_is_stopped_and_what_it_said_is_kept(asynchronous: bool) -> None:
    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        return held(message, stream)

    if asynchronous:
        engine, store = async_engine(script, turn_timeout=0.05)
    else:
        engine, store, _ = engine_of(held, turn_timeout=0.05)
    run = engine.start(ask(stream=True, keep=keep()))
    assert isinstance(run.log.wait_outcome().error, TurnTimeout)
    engine.drain(10)
    assert pieces_in(run.log) == ["a"]
    assert states(store) == [("query", INCOMPLETE), ("answer", INCOMPLETE)]
    (turn,) = store.turns
    assert turn.entry is not None
    assert turn.entry.value is not None
    assert (turn.entry.value["state"], turn.entry.value["answer"]["content"]) == (INCOMPLETE, "a")


def test_to_wait_for_a_session_counts_and_each_turn_has_its_own_time() -> None:
    engine, _, _ = engine_of(held, turn_timeout=0.05)
    runs = [engine.start(ask(stream=True)), engine.start(ask(session_id="another", stream=True))]
    waiting = engine.start(ask())
    for run in (*runs, waiting):
        assert isinstance(run.log.wait_outcome().error, TurnTimeout)
    # The look-out, which ends when there is nothing to look at, begins again.
    engine_idle(engine)
    again = engine.start(ask(stream=True))
    assert isinstance(again.log.wait_outcome().error, TurnTimeout)


def engine_idle(engine: Engine) -> None:
    tick = threading.Event()
    for _ in range(2000):
        if not engine._deadlines._looking:
            return
        tick.wait(0.005)
    raise AssertionError("it looks on although there is nothing")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_component_that_does_not_come_back_keeps_neither_reader_nor_session(asynchronous: bool) -> None:
    hangs, hang = threading.Event(), threading.Event()

    def stuck(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[str]:
            yield "a"
            hangs.set()
            hang.wait(60)

        return Message("b" if hangs.is_set() else pieces())

    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        return stuck(message, stream)

    if asynchronous:
        engine, store = async_engine(script, turn_timeout=0.05)
    else:
        engine, store, _ = engine_of(stuck, turn_timeout=0.05)
    run = engine.start(ask(stream=True, keep=keep()))
    assert isinstance(run.log.wait_outcome().error, TurnTimeout)
    assert pieces_in(run.log) == ["a"]
    assert [turn.entry.value["state"] for turn in store.turns if turn.entry] == [INCOMPLETE]
    # The next turn of the session does not wait for it.
    assert engine.start(ask()).log.wait_outcome().answer is not None
    hang.set()


def test_half_an_hour_is_the_limit_where_none_is_set() -> None:
    assert Settings().turn_timeout == 1800


def test_without_a_limit_nobody_looks() -> None:
    engine, _, _ = engine_of(lambda message, stream: message, turn_timeout=0.0)
    engine.execute(ask())
    assert not engine._deadlines._looking


# Whose a session is


class Locks:
    """Locks of sessions, one of which another process has until it is given."""

    def __init__(self, *, taken: bool) -> None:
        self.taken = taken
        self.asked = threading.Event()
        self.free = threading.Event()
        self.given: list[str] = []

    def try_acquire(self, session_id: str) -> Any:
        return None if self.taken else Held(self, waited=False)

    def acquire(self, session_id: str, timeout: float, token: CancelToken) -> Any:
        self.asked.set()
        assert self.free.wait(10)
        return Held(self, waited=True)

    def close(self) -> None: ...


class Held:
    def __init__(self, locks: Locks, *, waited: bool) -> None:
        self.waited = waited
        self._locks = locks

    def check(self) -> None: ...

    def release(self) -> None:
        self._locks.given.append("back")


@pytest.mark.parametrize(("exists", "taken", "times"), [
    (True, False, 1),
    (False, False, 2),
    (True, True, 2),
    (False, True, 2),
])
def test_whose_a_session_is_is_asked_again_where_it_may_have_changed(
    exists: bool, taken: bool, times: int
) -> None:
    asked: list[bool] = []
    locks, store = Locks(taken=taken), CountingStore()
    locks.free.set()
    engine = Engine(Scripted(lambda message, stream: message), store, QUICK, locks)

    def guard() -> bool:
        asked.append(exists)
        return exists

    assert engine.start(ask(guard=guard)).log.wait_outcome().error is None
    assert len(asked) == times
    engine.drain(10)
    assert locks.given == ["back"]


def test_a_session_that_became_somebody_else_s_while_it_was_waited_for_is_not_given() -> None:
    locks, store = Locks(taken=True), CountingStore()
    component = Scripted(lambda message, stream: remember(message, message))
    engine = Engine(component, store, QUICK, locks)
    owner = ["nobody"]

    def guard() -> bool:
        if owner[0] == "another":
            raise NotFound("There is no such session.")
        return False

    run = engine.start(ask(guard=guard))
    assert locks.asked.wait(10)
    owner[0] = "another"  # its first turn was committed by the other process
    locks.free.set()
    assert isinstance(run.log.wait_outcome().error, NotFound)
    engine.drain(10)
    assert (component.calls, store.turns, locks.given) == (0, [], ["back"])


# Commits nobody waits for


class LaterStore(CountingStore):
    """Commits when the test says so."""

    defers_commits = True

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[tuple[TurnRecord, Told]] = []
        self.asked = threading.Semaphore(0)
        self.refuses: BaseException | None = None

    def commit_later(self, turn: TurnRecord, tell: Told) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.pending.append((turn, tell))
        self.asked.release()

    def go_on(self, error: BaseException | None = None) -> None:
        turn, tell = self.pending.pop(0)
        if error is None:
            self.commit(turn)
        tell(error)


def engine_on(store: LaterStore) -> Engine:
    return Engine(Scripted(lambda message, stream: remember(message, Message("a"))), store, QUICK)


def later() -> tuple[Engine, LaterStore, Callable[..., Run]]:
    store = LaterStore()
    engine = engine_on(store)

    def start(**members: Any) -> Run:
        run = engine.start(ask(**members))
        assert store.asked.acquire(timeout=10)
        return run

    return engine, store, start


def test_an_answer_is_not_told_before_its_commit() -> None:
    engine, store, start = later()
    run = start()
    assert (run.log.outcome, len(engine.runs())) == (None, 1)
    behind = engine.start(ask())
    assert behind.log.outcome is None
    store.go_on()
    outcome = run.log.wait_outcome()
    assert outcome.answer is not None
    assert outcome.answer["content"] == "a"
    # Now the session is free for the next.
    assert store.asked.acquire(timeout=10)
    store.go_on()
    assert behind.log.wait_outcome().error is None
    assert len(store.turns) == 2
    engine.drain(10)
    assert engine.runs() == []


@pytest.mark.parametrize(("error", "told"), [
    (StoreUnavailable("no database"), StoreUnavailable),
    (ArithmeticError(), ComponentError),
    (MemoryError(), Overloaded),
])
def test_a_commit_that_fails_later_is_the_turn_s_failure(error: Exception, told: type[Exception]) -> None:
    engine, store, start = later()
    run = start()
    store.go_on(error)
    assert isinstance(run.log.wait_outcome().error, told)
    engine.drain(10)
    assert (store.turns, engine.runs()) == ([], [])
    store.refuses = error  # and where it cannot even be begun
    assert isinstance(engine_on(store).start(ask()).log.wait_outcome().error, told)


def test_a_commit_under_way_is_waited_for_when_the_process_shuts_down() -> None:
    engine, store, start = later()
    run = start()
    drained = threading.Thread(target=engine.drain, args=(30.0,))
    drained.start()
    while not engine.draining:
        pass
    assert run.log.outcome is None
    store.go_on()
    drained.join(30)
    assert not drained.is_alive()
    assert run.log.wait_outcome().error is None
    assert len(store.turns) == 1


def test_a_commit_that_outlasts_the_shutdown_still_ends_its_turn_by_the_truth() -> None:
    engine, store, start = later()
    run = start()
    engine.drain(0.0)  # told to stop, and then ended by force: but its commit is under way
    assert run.log.outcome is None
    store.go_on()
    outcome = run.log.wait_outcome()
    assert outcome.error is None  # it is durable, so it is told as a whole
    assert len(store.turns) == 1
    assert engine.runs() == []
