"""The turn machine: what follows from what, by hand and through any interleaving."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appbuilder.engine.machine import (
    ENDED,
    Action,
    Attempt,
    Begun,
    Commit,
    Committed,
    Cut,
    Ended,
    Ending,
    Event,
    Failed,
    FirstPiece,
    Phase,
    Pump,
    RetryPolicy,
    TurnState,
    step,
)

POLICY = RetryPolicy(attempts=3, backoff=0.2)


def run(*events: Event) -> tuple[TurnState, list[Action | None]]:
    state, actions = TurnState(), []
    for event in events:
        state, action = step(state, event, POLICY)
        actions.append(action)
    return state, actions


def test_a_streamed_turn() -> None:
    state, actions = run(Begun(), FirstPiece(), Ended(), Committed())
    assert state.phase is Phase.DONE
    assert actions == [Attempt(), Pump(), Commit(Ending.WHOLE), None]


def test_a_whole_answer() -> None:
    state, actions = run(Begun(), Ended(), Committed())
    assert (state.phase, actions) == (Phase.DONE, [Attempt(), Commit(Ending.WHOLE), None])


def test_it_is_tried_again_while_no_piece_was_sent_with_back_off() -> None:
    state, actions = run(Begun(), Failed(True), Failed(True), Failed(True), Committed())
    assert state.phase is Phase.FAILED
    assert actions == [Attempt(), Attempt(0.2), Attempt(0.4), Commit(Ending.FAILED), None]
    assert run(Begun(), Failed(True), Ended(), Committed())[0].phase is Phase.DONE


def test_it_is_not_tried_again_after_the_first_piece_or_where_it_cannot_help() -> None:
    assert run(Begun(), FirstPiece(), Failed(True))[1][-1] == Commit(Ending.FAILED)
    assert run(Begun(), Failed(False))[1][-1] == Commit(Ending.FAILED)


def test_a_turn_that_never_had_its_session_leaves_nothing() -> None:
    assert run(Failed()) == (TurnState(Phase.FAILED), [None])


def test_a_failure_is_written_before_it_counts() -> None:
    assert run(Begun(), Failed())[0].phase is Phase.COMMITTING
    for said in (Committed(), Failed()):
        assert run(Begun(), Failed(), said)[0].phase is Phase.FAILED


def test_a_cut_turn_keeps_its_part_and_is_not_done() -> None:
    for events in ([Begun(), FirstPiece()], [Begun()]):
        state, actions = run(*events, Cut(), Committed())
        assert state.phase is Phase.CANCELLED
        assert actions[-2] == Commit(Ending.CUT)
    assert run(Cut())[0].phase is Phase.CANCELLED


def test_a_cut_while_the_whole_is_written_comes_too_late() -> None:
    assert run(Begun(), Ended(), Cut(), Committed())[0].phase is Phase.DONE


def test_what_cannot_be_written_failed() -> None:
    assert run(Begun(), Ended(), Failed())[0].phase is Phase.FAILED
    assert run(Begun(), FirstPiece(), Cut(), Failed())[0].phase is Phase.FAILED


def test_an_event_that_cannot_happen_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="cannot happen in"):
        run(FirstPiece())


def draw(data: st.DataObject, *events: Event) -> Event:
    return events[data.draw(st.integers(0, len(events) - 1))]


@given(st.data())
def test_any_interleaving(data: st.DataObject) -> None:
    """A driver that does what the machine says, and somebody who cuts at any time."""
    state, action, commits, attempts = TurnState(), None, 0, 0
    state, action = step(state, draw(data, Begun(), Failed(), Cut()), POLICY)
    pieces = 0
    while action is not None:
        if data.draw(st.booleans(), label="cut from another thread"):
            state, taken_over = step(state, Cut(), POLICY)
            if taken_over is not None:
                assert taken_over == Commit(Ending.CUT)
                commits += 1
                state, nothing = step(state, draw(data, Committed(), Failed()), POLICY)
                assert nothing is None
        if isinstance(action, Attempt):
            attempts += 1
            assert pieces == 0, "a retry after a piece was sent"
            event = draw(data, FirstPiece(), Ended(), Failed(), Failed(True), Cut())
        elif isinstance(action, Pump):
            event = draw(data, Ended(), Failed(True), Cut())
        else:
            commits += 1
            event = draw(data, Committed(), Failed())
        pieces += isinstance(event, FirstPiece) and state.phase is Phase.ATTEMPT
        state, action = step(state, event, POLICY)
    assert state.phase in ENDED
    assert commits <= 1, "two commits of one turn"
    assert attempts <= POLICY.attempts
    if state.phase is Phase.DONE:
        assert commits == 1
