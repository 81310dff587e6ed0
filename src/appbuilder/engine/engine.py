"""Starts turns, counts them, and ends them when the process shuts down."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

from appbuilder import telemetry
from appbuilder.core.cancel import CancelToken
from appbuilder.core.component import OURS, entry
from appbuilder.core.locks import SessionLocks
from appbuilder.core.runs import LiveRun
from appbuilder.core.store import SessionStore
from appbuilder.engine import turn_spans
from appbuilder.engine.admission import Admission, session_queue
from appbuilder.engine.answer_limits import AnswerLimits
from appbuilder.engine.async_driver import AsyncDriver
from appbuilder.engine.driver import Driver
from appbuilder.engine.machine import Phase, RetryPolicy
from appbuilder.engine.memory_budget import Budget
from appbuilder.engine.run_deadlines import RunDeadlines
from appbuilder.engine.threads.batch_executor import run_concurrently
from appbuilder.engine.threads.event_loop import portal
from appbuilder.engine.turn import Turn
from appbuilder.engine.turn_request import TurnRequest
from appbuilder.errors import (
    AppBuilderError,
    ConfigurationError,
    Draining,
    InvalidRequest,
    Overloaded,
    TurnCancelled,
)
from appbuilder.ids import worker_name
from appbuilder.logs import logger
from appbuilder.settings import Settings

_FORCED_GRACE = 1.0
"""Seconds between asking the last turns to stop and taking their last steps for them."""
_ALONE_WAIT = 1.0
"""Seconds for which another process is waited for that may have the session no more."""


class Run:
    """A turn under way, as a transport sees it: a log to read, and a way to attach and detach readers."""

    def __init__(self, turn: Turn, *, cancel_when_left: bool) -> None:
        self.request = turn.request
        self.log = turn.log
        self._turn = turn
        self._cancel_when_left = cancel_when_left
        self._readers = 0
        self._lock = threading.Lock()

    @property
    def milliseconds(self) -> int | None:
        """How long it took, as it is stored; None: it has not ended, or is not kept."""
        return self._turn.milliseconds

    def attach(self) -> None:
        """A reader has come."""
        self._turn.account.hold()
        with self._lock:
            self._readers += 1

    def detach(self) -> None:
        """A reader has left; with the last one the run is cut, unless it is to go on without readers."""
        with self._lock:
            self._readers -= 1
            left = self._readers == 0
        self._turn.account.release_account()
        if left and self.log.outcome is None:
            telemetry.current.reader_left()
        if left and self._cancel_when_left:
            self.cancel(TurnCancelled("The reader left."))

    def cancel(self, reason: AppBuilderError) -> None:
        """Stops the run; what was answered so far is kept and marked as incomplete."""
        if self.log.outcome is None:
            self._turn.cancel(reason)


class Engine:
    """Runs the turns of one component in one process. Make it after any fork.

    :param component: has ``run(message, stream, **args)``, or ``arun``.
    :param store: where the turns are kept.
    :param locks: keep other processes from a session while it has a turn here; None: no other process is
        expected to serve it.
    :param name: of the component, for traces; None: what it says of itself.
    """

    def __init__(
        self,
        component: Any,
        store: SessionStore,
        settings: Settings,
        locks: SessionLocks | None = None,
        name: str | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self._run, self._asynchronous = entry(component)
        self._sessions = session_queue(store)
        self._answers = AnswerLimits(settings)
        self.budget = Budget(settings.max_in_flight, settings.max_in_flight_caller)
        self._admission = Admission(settings.max_turns)
        self._policy = RetryPolicy(max(1, settings.attempts), settings.retry_backoff)
        self._max_waiting = settings.session_queue if settings.session_busy == "queue" else 0
        self._locks = locks
        self._name = name or turn_spans.agent_name(component)
        self._live: dict[str, Turn] = {}
        self._deadlines = RunDeadlines(settings.turn_timeout, lambda: list(self._live.values()))
        self._check_args = argument_check(self._run)

    def start(self, request: TurnRequest, *, on_disconnect: str | None = None) -> Run:
        """Starts a turn in the background.

        :raises InvalidRequest: ``args`` holds a name the component does not take.
        :raises Overloaded: too many turns are in flight.
        :raises Draining: the process shuts down.
        :raises SessionBusy: too many turns wait for the session.
        """
        turn = self._admit(request)
        run = Run(turn, cancel_when_left=(on_disconnect or self.settings.on_disconnect) == "cancel")
        self._launch(turn)
        return run

    def execute(self, request: TurnRequest) -> Run:
        """Runs a turn to its end, in the caller's thread where the component is synchronous.

        :raises InvalidRequest, Overloaded, Draining, SessionBusy: as :meth:`start`.
        """
        turn = self._admit(request)
        if self._asynchronous:
            self._launch(turn)
            turn.log.wait_outcome()
        else:
            self._driver(turn)()
        return Run(turn, cancel_when_left=False)

    def runs(self) -> list[LiveRun]:
        """The runs under way in this process, in no order."""
        return [_live_run(turn) for turn in list(self._live.values())]

    def stop_run(self, run_id: str) -> bool:
        """Stops a run; what was answered so far is kept. False: it is not here, or has ended."""
        turn = self._live.get(run_id)
        if turn is None:
            return False
        turn.cancel(TurnCancelled("The turn was stopped."))
        return True

    @contextlib.contextmanager
    def alone(self, session_id: str) -> Iterator[None]:
        """Keeps turns from a session, those of other processes too, while something else is done with it.

        :raises SessionBusy: it has a turn under way.
        :raises StoreUnavailable: the database does not answer.
        """
        ticket, lock = self._sessions.enter(session_id, 0), None
        try:
            if self._locks is not None:
                lock = self._locks.acquire(session_id, _ALONE_WAIT, CancelToken())
            yield
        finally:
            if lock is not None:
                lock.release()
            ticket.leave()

    @property
    def draining(self) -> bool:
        """True once :meth:`drain` was called."""
        return self._admission.closed

    def drain(self, timeout: float) -> None:
        """Takes no new turns, lets the running ones finish, and marks those that do not in *timeout* seconds.

        Streams still open then get a last event that says so.
        """
        self._admission.close()
        if self._admission.wait_idle(timeout):
            return
        left = list(self._live.values())
        logger.warning("%d turns are still running after %g seconds; they are marked as incomplete",
                       len(left), timeout)
        for turn in left:
            turn.cancel(Draining("The service was stopped before the answer was whole.", retry_after=2))
        if not self._admission.wait_idle(_FORCED_GRACE):
            for turn in list(self._live.values()):
                turn.force_end()

    def _admit(self, request: TurnRequest) -> Turn:
        try:
            turn = self._enter(request)
        except AppBuilderError as error:
            telemetry.refuse(request.door, error)
            raise
        telemetry.current.turn_began()
        self._live[request.run_id] = turn
        self._deadlines.watch()
        return turn

    def _enter(self, request: TurnRequest) -> Turn:
        self._check_args(request.args)
        self._admission.enter()
        account, ticket = request.account, None
        if account is None:
            account = self.budget.account("")
        else:
            account.hold()
        try:
            ticket = self._sessions.enter(request.session_id, self._max_waiting)
            return Turn(
                request,
                self.store,
                ticket,
                self._policy,
                self._ended,
                limits=self._answers,
                account=account,
                write_timeout=self.settings.write_timeout,
                locks=self._locks,
                agent=self._name,
            )
        except BaseException:
            if ticket is not None:
                ticket.leave()
            account.release_account()
            self._admission.leave()
            raise

    def _launch(self, turn: Turn) -> None:
        try:
            if self._asynchronous:
                self._start_async(turn)
            else:
                run_concurrently(self._driver(turn, defers_commits=True))
        except BaseException as error:
            turn.abandon()
            if isinstance(error, RuntimeError):  # Python's word for no more threads
                raise Overloaded("The service is busy; try again in a moment.", retry_after=1) from error
            raise

    def _driver(self, turn: Turn, *, defers_commits: bool = False) -> Driver:
        return Driver(turn, self._run, self.settings.session_wait, defers_commits=defers_commits)

    def _start_async(self, turn: Turn) -> None:
        here = portal()
        here.start(lambda: AsyncDriver(turn, self._run, self.settings.session_wait, here).drive())

    def _ended(self, turn: Turn) -> None:
        self._live.pop(turn.request.run_id, None)
        self._admission.leave()


def _live_run(turn: Turn) -> LiveRun:
    request = turn.request
    state = "stopping" if turn.token.cancelled else "waiting" if turn.state.phase is Phase.NEW else "running"
    return LiveRun(
        id=request.run_id,
        session_id=request.session_id,
        request_id=request.request_id,
        owner=None if request.keep is None else request.keep.owner,
        started_at=turn.started_at,
        state=state,
        worker=worker_name(),
        pieces=turn.log.count,
    )


def argument_check(run: Callable[..., Any]) -> Callable[[Any], None]:
    """A function that raises InvalidRequest for keyword arguments *run* does not take.

    :raises ConfigurationError: *run* cannot be called with ``message`` and ``stream``.
    """
    parameters = inspect.signature(run).parameters.values()
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    missing = [name for name in OURS if name not in names]
    if missing and not takes_any:
        raise ConfigurationError(
            f"The component's run must take message and stream, as run(message, stream, **args); "
            f"it does not take {' and '.join(missing)}."
        )
    required = [p.name for p in parameters
                if p.default is p.empty and p.name not in OURS and p.name in names]

    def check(args: Any) -> None:
        for name in args:
            if name == "self" or name in OURS or not (takes_any or name in names):
                raise InvalidRequest(f"The service takes no member {name[:100]!r}.")
        for name in required:
            if name not in args:
                raise InvalidRequest(f"The service needs a member {name!r}.")

    return check
