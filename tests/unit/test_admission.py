from __future__ import annotations

import gc
import threading

import pytest

from appbuilder.core.cancel import CancelToken
from appbuilder.engine.admission import Admission, QueueEntry, SessionQueue, session_queue
from appbuilder.errors import Draining, Overloaded, SessionBusy, TurnCancelled


def test_no_more_than_the_limit_is_admitted() -> None:
    gate = Admission(2)
    gate.enter()
    gate.enter()
    with pytest.raises(Overloaded) as refused:
        gate.enter()
    assert refused.value.retry_after > 0
    gate.leave()
    gate.enter()


def test_a_closed_gate_admits_nobody_and_waits_for_those_inside() -> None:
    gate = Admission(2)
    gate.enter()
    gate.close()
    assert gate.closed
    with pytest.raises(Draining):
        gate.enter()
    assert not gate.wait_idle(0)
    leaving = threading.Thread(target=gate.leave)
    leaving.start()
    assert gate.wait_idle(10)
    leaving.join()


def test_turns_of_a_session_come_in_their_order() -> None:
    turns, order, token = SessionQueue(), [], CancelToken()
    tickets = [turns.enter("s", 10) for _ in range(5)]

    def take(number: int) -> None:
        tickets[number].wait(10, token)
        order.append(number)
        tickets[number].leave()

    threads = [threading.Thread(target=take, args=(n,)) for n in reversed(range(5))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]
    assert not turns._queues, "a session nobody uses takes no memory"


def test_sessions_do_not_wait_for_each_other() -> None:
    turns = SessionQueue()
    turns.enter("a", 0).wait(0, CancelToken())
    turns.enter("b", 0).wait(0, CancelToken())


def test_a_full_queue_and_a_long_wait_are_refused() -> None:
    turns = SessionQueue()
    first = turns.enter("s", 1)
    second = turns.enter("s", 1)
    with pytest.raises(SessionBusy):
        turns.enter("s", 1)
    with pytest.raises(SessionBusy, match="still busy"):
        second.wait(0, CancelToken())
    second.leave()
    first.leave()
    with pytest.raises(SessionBusy):
        [turns.enter("s", 0) for _ in range(2)]


def test_a_waiting_turn_can_be_stopped_and_lets_the_next_pass() -> None:
    turns, token = SessionQueue(), CancelToken()
    first, second, third = (turns.enter("s", 10) for _ in range(3))
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            second.wait(10, token)
        except TurnCancelled as error:
            outcome.append(error)
        second.leave()

    waiting = threading.Thread(target=wait)
    waiting.start()
    token.cancel()
    waiting.join()
    assert outcome
    first.leave()
    third.wait(10, CancelToken())


def test_engines_on_one_store_share_its_sessions() -> None:
    class Store:
        pass

    one, other = Store(), Store()
    assert session_queue(one) is session_queue(one)
    assert session_queue(one) is not session_queue(other)
    ticket: QueueEntry = session_queue(one).enter("s", 0)
    with pytest.raises(SessionBusy):
        session_queue(one).enter("s", 0)
    ticket.leave()
    del one
    gc.collect()


def test_cancel_callbacks_run_once_and_can_be_taken_back() -> None:
    token, called = CancelToken(), []
    token.on_cancel(lambda: called.append("kept"))
    token.on_cancel(lambda: called.append("taken back"))()
    token.on_cancel(lambda: 1 / 0)  # type: ignore[arg-type]
    token.raise_if_cancelled()
    token.cancel()
    token.cancel()
    token.on_cancel(lambda: called.append("late"))
    assert called == ["kept", "late"]
    with pytest.raises(TurnCancelled):
        token.raise_if_cancelled()


def test_a_forked_process_inherits_no_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    class Store: ...

    store = Store()
    session_queue(store).enter("s", 0)
    with pytest.raises(SessionBusy):
        session_queue(store).enter("s", 0)
    monkeypatch.setattr("os.getpid", lambda: -1)
    session_queue(store).enter("s", 0)
