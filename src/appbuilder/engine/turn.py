"""What a turn is made of: the state, the log, the attempt under way, the commit.

A :class:`Turn` holds everything the two drivers (:mod:`appbuilder.engine.driver`, for threads, and
:mod:`appbuilder.engine.async_driver`, for an event loop) share; they add only how to step an iterator.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from appbuilder import clock, jsontext, telemetry, tracing
from appbuilder.core.cancel import CancelToken
from appbuilder.core.component import as_answer
from appbuilder.core.context import SessionContext, context_var
from appbuilder.core.events import RESTART, LoggedEvent
from appbuilder.core.locks import SessionLock, SessionLocks
from appbuilder.core.message import (
    Message,
    dump,
)
from appbuilder.core.store import (
    SessionStore,
)
from appbuilder.engine import turn_metrics, turn_spans
from appbuilder.engine.admission import QueueEntry, waiting
from appbuilder.engine.answer_limits import AnswerLimits
from appbuilder.engine.log import Outcome
from appbuilder.engine.machine import (
    ENDED,
    Action,
    Commit,
    Committed,
    Cut,
    Ended,
    Ending,
    Event,
    Failed,
    Phase,
    RetryPolicy,
    TurnState,
    step,
)
from appbuilder.engine.memory_budget import Account
from appbuilder.engine.recording import Recorder, pristine
from appbuilder.engine.turn_request import TurnRequest
from appbuilder.errors import (
    AnswerTooLarge,
    AppBuilderError,
    ComponentError,
    Overloaded,
    RateLimited,
    RequestError,
    TurnCancelled,
    out_of_memory,
)
from appbuilder.fork_safe import ForkSafe
from appbuilder.logs import logger


class Turn(Recorder):
    """One turn. Events come from the driver, and from :meth:`force_end` when the process shuts down."""

    def __init__(
        self,
        request: TurnRequest,
        store: SessionStore,
        entry: QueueEntry,
        policy: RetryPolicy,
        on_end: Callable[[Turn], None],
        *,
        limits: AnswerLimits,
        account: Account,
        write_timeout: float = 0.0,
        locks: SessionLocks | None = None,
        agent: str = "",
    ) -> None:
        super().__init__(request, limits, account)
        self.write_timeout = write_timeout
        self._queue_entry = entry
        self._locks = locks
        self.token = CancelToken()
        self.state = TurnState()
        self._store = store
        self._policy = policy
        self._on_end = on_end
        self._base = self.context
        self._span = turn_spans.begin(request, agent)
        if self._span is not None:
            self._base.run(tracing.make_current, self._span)

    @cached_property
    def started_at(self) -> datetime:
        """When the turn was admitted, in UTC without a zone; worked out when it is first asked for."""
        return clock.now() - timedelta(seconds=clock.monotonic() - self.began)

    # Its session

    def acquire_at_once(self) -> bool:
        """Takes the session where that needs no waiting; False: :meth:`acquire` has to."""
        request = self.request
        if self._queue_entry.ready is not None or request.guard is not None or request.replaces is not None:
            return False
        if self._locks is None:
            return True
        lock = self._locks.try_acquire(self.request.session_id)
        if lock is not None:
            self._hold(lock)
        return lock is not None

    def acquire(self, timeout: float) -> None:
        """Waits for the session, first for turns of this process, then for others'.

        :raises SessionBusy: *timeout* seconds have passed.
        :raises TurnCancelled: the turn was stopped meanwhile.
        :raises RequestError: the session is not for the caller.
        """
        guard, deadline = self.request.guard, clock.monotonic() + timeout
        known = guard is None or guard()
        waited = self._queue_entry.ready is not None
        self._queue_entry.wait(timeout, self.token)
        if self._locks is not None:
            session_id, left = self.request.session_id, max(0.0, deadline - clock.monotonic())
            lock = self._locks.try_acquire(session_id)
            if lock is None:
                with waiting():
                    lock = self._locks.acquire(session_id, left, self.token)
            self._hold(lock)
            waited = waited or lock.waited
        if guard is not None and (waited or not known):
            guard()
        if self.request.replaces is not None:
            self._replaced = self.request.replaces()

    def _hold(self, lock: SessionLock) -> None:
        with self._lock:
            already_ended = self.state.phase in ENDED
            if not already_ended:
                self._lock_held = lock
        if already_ended:  # by a shutdown, which has released what was held by then
            lock.release()

    def _release(self) -> None:
        lock, self._lock_held = self._lock_held, None
        if lock is not None:
            lock.release()
        self._queue_entry.leave()

    # Deciding

    def advance(self, event: Event) -> Action | None:
        """Feeds *event* to the machine; ends the turn where the machine says so."""
        if type(event) is Ended and self.token.cancelled:
            # A component that looks at the token stops early, which looks like an end.
            event = Cut()
        with self._lock:
            already_ended = self.state.phase in ENDED
            self.state, action = step(self.state, event, self._policy)
            ended_now = self.state.phase in ENDED and not already_ended
        if ended_now:
            self._end()
        return action

    def cancel(self, reason: AppBuilderError) -> None:
        """Asks the turn to stop: sets the token, which breaks off what the model sends."""
        if self.error is None:
            self.error = reason
        self.token.cancel()

    def force_end(self) -> None:
        """Takes the last steps in the caller's thread, for a component that does not come back."""
        action = self.advance(Cut())
        if isinstance(action, Commit):
            self.commit(action)

    def abandon(self) -> None:
        """Ends a turn that no driver could be started for."""
        self.advance(Failed())

    # One attempt

    def begin_attempt(self) -> None:
        """A fresh context and message: nothing of an attempt before this one is left."""
        request = self.request
        session = SessionContext(
            request.run_id, request.session_id, request.request_id, request.user_id, self.token
        )
        session.run_id = request.run_id
        session.store = self._store
        session.credential = request.credential
        session.on_event = self.emit
        session.on_step = self.record_step if request.watch else None
        session.attachments = request.attachments
        session.keeps_turns = None if request.keep is None else request.keep.texts
        session.history_before = None if self._replaced is None else self._replaced.first
        self.context = self._base.run(contextvars.copy_context)
        self.context.run(context_var.set, session)
        self._session = session
        self.answer = None
        if self.log.entries and self.state.attempt > 1:
            data = {"attempt": self.state.attempt}
            self.log.append(LoggedEvent(RESTART, data))
        if not self.token.cancelled:
            self.error = None  # of the attempt before this one

    def discard(self) -> None:
        """Drops what the failed attempt appended."""
        self._session = None

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for the component's ``run``; a retry gets what the first attempt got."""
        request = self.request
        message, args = request.message, request.args
        if self.state.attempt == 1:
            # Not before: to copy a large message takes time, which the event loop has not.
            if self._policy.attempts > 1 or request.keep is not None:
                self._retry_arguments = pristine(request)
        elif self._retry_arguments is not None:
            message, args = map(jsontext.copied, self._retry_arguments)  # a third attempt may follow
        return {**args, "message": Message(message), "stream": request.stream}

    def accept(self, answer: Any) -> Message[Any]:
        """What ``run`` returned, as a message.

        :raises ComponentError: it returned nothing, or what cannot be sent.
        :raises AnswerTooLarge, RateLimited, Overloaded: it returned too much.
        """
        message = as_answer(answer)
        if type(message.content) is str and not jsontext.is_clean(message.content):
            message.content = jsontext.clean(message.content)
        if not self._logs_answer:  # otherwise it is measured as a piece
            self.measure_whole(message.content)
        if self.answer is not None and self.log.head is not None:
            message.id = self.answer.id  # which the reader of the text emitted before knows
        self.answer = message
        return message

    @property
    def _logs_answer(self) -> bool:
        """Whether an answer that comes whole goes into the log, too: to be streamed, or after other text."""
        return self.request.stream or self.has_emitted_text

    def publish_whole(self) -> bool:
        """Puts an answer that came whole into the log, if it is read from there; True if it did."""
        if self._logs_answer and self.answer is not None:
            self.publish(self.answer.content)
            return True
        return False

    def failed(self, error: BaseException, *, iterating: bool) -> Event:
        """The event for *error*, raised by ``run`` or, if *iterating*, by the iterator of its answer."""
        if self.token.cancelled:
            return Cut()
        self.error = _as_ours(error)
        retryable = iterating and not self.log.has_spoken and _is_retryable(error)
        if not isinstance(error, RequestError):
            logger.error(
                "attempt %d of request %s failed%s",
                self.state.attempt,
                self.request.request_id,
                ", it may be tried again" if retryable else "",
                exc_info=error,
                extra=self.ids,
            )
        return Failed(retryable=retryable)

    # The end

    def commit(self, action: Commit) -> Action | None:
        """Writes what is kept of the turn; the machine goes on when it is durable."""
        if not self._is_large:
            return self._commit(action)
        with _large_commits.get(), jsontext.long_texts_expected():
            return self._commit(action)

    @property
    def _is_large(self) -> bool:
        """Whether what is written of it, several copies of what was said, is large in comparison."""
        return self.account.size > _LARGE

    def _commit(self, action: Commit) -> Action | None:
        try:
            record = self.record(action.ending)
            if record is not None:
                with turn_spans.commit(self._span):
                    self._store.commit(record)
        except BaseException as error:  # noqa: BLE001 - a SystemExit of what was appended, a kill: the turn failed
            return self._committed(action, error)
        return self._committed(action, None)

    def commit_later(self, action: Commit) -> bool:
        """Begins to write what is kept of the turn, which takes its last steps in another thread then.

        False: nothing was begun, and :meth:`commit` is to be called.
        """
        store: Any = self._store
        if self._span is not None or self._is_large or not getattr(store, "defers_commits", False):
            return False
        try:
            record = self.record(action.ending)
            if record is not None:
                store.commit_later(record, lambda error: self._committed(action, error))
                return True
        except BaseException as error:  # noqa: BLE001 - as above
            self._committed(action, error)
        else:
            self._committed(action, None)
        return True

    def _committed(self, action: Commit, error: BaseException | None) -> Action | None:
        if error is None:
            return self.advance(Committed())
        if action.ending is not Ending.FAILED:  # there the first error is the one to tell
            self.error = _as_ours(error)
        request_id = self.request.request_id
        logger.error("the turn of request %s was not stored", request_id, exc_info=error, extra=self.ids)
        return self.advance(Failed())

    def _end(self) -> None:
        if self.state.phase is Phase.DONE and self.answer is not None:
            outcome = Outcome(answer=self._members or dump(self.answer))
        else:
            outcome = Outcome(error=self.error or TurnCancelled("The turn was stopped."))
        self._release()
        self.account.release_account()
        calls = 0 if self._session is None else self._session.model_calls
        span, ids = self._span, lambda: self.ids
        turn_metrics.record_turn(
            self.request, self.state, self.log, outcome, span=span, ids=ids, model_calls=calls
        )
        self.log.finish(outcome)
        self._on_end(self)

    @property
    def ids(self) -> dict[str, str]:
        """What tells this turn from others in a log."""
        request = self.request
        own = {"request_id": request.request_id, "session_id": request.session_id, "run_id": request.run_id}
        return own if self._span is None else own | tracing.ids(self._span)

    def publish_head(self) -> None:
        """Puts what is there of the answer before its first piece into the log."""
        if self.answer is None:  # text is emitted before the component returned its answer
            self.answer = Message("")
        members = dump(self.answer)
        members.pop("content", None)
        self.log.head = members
        telemetry.current.first_piece(self.request.door, clock.monotonic() - self.began)


_LARGE = 1024 * 1024
"""Bytes."""
_large_commits = ForkSafe(lambda: threading.BoundedSemaphore(2))
"""Large turns are written few at a time."""


def _as_ours(cause: BaseException) -> AppBuilderError:
    if isinstance(cause, (AnswerTooLarge, RateLimited, Overloaded)):
        # Without the frames of its traceback, which would keep all that was said.
        return cause.with_traceback(None)
    if isinstance(cause, AppBuilderError):
        return cause
    if isinstance(cause, MemoryError):
        return out_of_memory()
    error = ComponentError("The component failed.")
    error.__cause__ = cause
    return error


def _is_retryable(error: BaseException) -> bool:
    """Whether the same attempt might succeed: not where the input or the caller is at fault."""
    return isinstance(error, Exception) and not isinstance(error, (ValueError, RequestError, TurnCancelled))
