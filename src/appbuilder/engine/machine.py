"""The turn as a pure function: a state and an event give the next state and what to do.

::

    NEW -> ATTEMPT -> STREAMING -> COMMITTING -> DONE, CANCELLED or FAILED
           ATTEMPT -> ATTEMPT (a retry)          CANCELLED and FAILED from NEW too

How a turn ended is written before it counts as ended: the whole, the part, or that it failed.

Nothing here touches a component, a clock or a database, so a test can drive it through any interleaving.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Phase(Enum):
    """Where a turn is."""

    NEW = "new"
    ATTEMPT = "attempt"
    STREAMING = "streaming"
    COMMITTING = "committing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = (Phase.DONE, Phase.FAILED, Phase.CANCELLED)


class Ending(Enum):
    """How a turn's work came to its end, and with it what is written of it."""

    WHOLE = "whole"
    CUT = "cut"
    FAILED = "failed"


_PHASE_AFTER = {Ending.WHOLE: Phase.DONE, Ending.CUT: Phase.CANCELLED, Ending.FAILED: Phase.FAILED}


@dataclass(frozen=True, slots=True)
class TurnState:
    """``attempt`` counts from 1; ``ending`` says what the commit under way is of."""

    phase: Phase = Phase.NEW
    attempt: int = 0
    ending: Ending = Ending.WHOLE


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most ``attempts`` in all; ``backoff`` seconds before the second, doubled for each further."""

    attempts: int = 3
    backoff: float = 0.2


# Events: what happened.


@dataclass(frozen=True, slots=True)
class Begun:
    """The session is ours."""


@dataclass(frozen=True, slots=True)
class FirstPiece:
    """The answer's first piece is in the log."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer is whole."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The turn cannot go on; ``retryable`` if the same attempt, made again, might succeed."""

    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """The answer is no longer wanted: its reader left, it was stopped, the process shuts down."""


@dataclass(frozen=True, slots=True)
class Committed:
    """The rows are durable."""


Event = Begun | FirstPiece | Ended | Failed | Cut | Committed


# Actions: what to do next.


@dataclass(frozen=True, slots=True)
class Attempt:
    """Wait ``delay`` seconds, drop what an attempt before this one appended, run the component."""

    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Pump:
    """Move the further pieces into the log."""


@dataclass(frozen=True, slots=True)
class Commit:
    """Write what is kept of a turn that ended so."""

    ending: Ending


Action = Attempt | Pump | Commit

# Made once: every turn has them.
_FIRST_ATTEMPT = TurnState(Phase.ATTEMPT, 1), Attempt()
_PUMP = Pump()
_COMMITS = {ending.value: Commit(ending) for ending in Ending}


def step(state: TurnState, event: Event, policy: RetryPolicy) -> tuple[TurnState, Action | None]:
    """What follows from *event*. ``None`` as action: nothing to do, because the turn has ended, or because
    another thread (one that shuts the process down) has taken the turn's last steps over.
    """
    phase = state.phase
    if phase in ENDED:
        return state, None
    if phase is Phase.COMMITTING:
        return _while_committing(state, event)
    kind = type(event)
    if kind is Cut:
        return _when_cut(state)
    if isinstance(event, Failed):
        return _when_failed(state, event, policy)
    return _when_forward(state, event)


def _when_forward(state: TurnState, event: Event) -> tuple[TurnState, Action | None]:
    phase, kind = state.phase, type(event)
    if kind is Begun and phase is Phase.NEW:
        return _FIRST_ATTEMPT
    if kind is FirstPiece and phase is Phase.ATTEMPT:
        return TurnState(Phase.STREAMING, state.attempt), _PUMP
    if kind is Ended and phase is not Phase.NEW:
        return _committing(state, Ending.WHOLE)
    raise AssertionError(f"{event} cannot happen in {phase}")


def _when_cut(state: TurnState) -> tuple[TurnState, Action | None]:
    if state.phase is Phase.NEW:
        return TurnState(Phase.CANCELLED, state.attempt), None
    return _committing(state, Ending.CUT)


def _when_failed(state: TurnState, event: Failed, policy: RetryPolicy) -> tuple[TurnState, Action | None]:
    if event.retryable and state.phase is Phase.ATTEMPT and state.attempt < policy.attempts:
        delay = policy.backoff * 2 ** (state.attempt - 1)
        return TurnState(Phase.ATTEMPT, state.attempt + 1), Attempt(delay)
    if state.phase is Phase.NEW:
        return TurnState(Phase.FAILED, state.attempt), None
    return _committing(state, Ending.FAILED)


def _committing(state: TurnState, ending: Ending) -> tuple[TurnState, Action]:
    return TurnState(Phase.COMMITTING, state.attempt, ending), _COMMITS[ending.value]


def _while_committing(state: TurnState, event: Event) -> tuple[TurnState, Action | None]:
    if isinstance(event, Committed):
        return TurnState(_PHASE_AFTER[state.ending], state.attempt, state.ending), None
    if isinstance(event, Failed):
        return TurnState(Phase.FAILED, state.attempt, state.ending), None
    return state, None
