"""What a turn is made of: the state, the log, the attempt under way, the commit.

A :class:`Turn` holds everything the two drivers (:mod:`appbuilder.engine.driver`, for threads, and
:mod:`appbuilder.engine.async_driver`, for an event loop) share; they add only how to step an iterator.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
    AsyncContentStream,
    ContentStream,
    Message,
    check_members,
    dump,
    settle,
    text_of,
)
from appbuilder.core.store import (
    INCOMPLETE,
    RESERVED_PREFIX,
    STATE,
    ReplacedTurns,
    SessionStore,
    TurnEntry,
    TurnRecord,
)
from appbuilder.engine import keeping, spans, telling
from appbuilder.engine.budget import Account
from appbuilder.engine.fold import Folded, fold
from appbuilder.engine.limits import Ticket, waiting
from appbuilder.engine.log import Outcome
from appbuilder.engine.loop import iterate
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
from appbuilder.engine.meter import AnswerLimits
from appbuilder.engine.publishing import Publisher
from appbuilder.engine.request import TurnRequest
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
from appbuilder.logs import logger
from appbuilder.per_process import PerProcess


class Turn(Publisher):
    """One turn. Events come from the driver, and from :meth:`force_end` when the process shuts down."""

    def __init__(
        self,
        request: TurnRequest,
        store: SessionStore,
        ticket: Ticket,
        policy: RetryPolicy,
        on_end: Callable[[Turn], None],
        *,
        limits: AnswerLimits,
        account: Account,
        write_timeout: float = 0.0,
        locks: SessionLocks | None = None,
        agent: str = "",
    ) -> None:
        self.request = request
        super().__init__(limits, account)
        self.write_timeout = write_timeout
        self.began = clock.monotonic()
        self._ticket = ticket
        self._locks = locks
        self._lock_held: SessionLock | None = None
        self.token = CancelToken()
        self.state = TurnState()
        self.answer: Message[Any] | None = None
        self.error: AppBuilderError | None = None
        self._store = store
        self._policy = policy
        self._on_end = on_end
        # What the transport's thread knows (a tracing span, Flask's request) is known to the component too.
        self._base = contextvars.copy_context()
        self.context = self._base
        self._session: SessionContext | None = None
        self._pristine: tuple[Any, Mapping[str, Any]] | None = None
        self._replaced: ReplacedTurns | None = None
        self.milliseconds: int | None = None
        self._members: dict[str, Any] = {}
        """Of the answer as JSON, from the commit on."""
        self._span = spans.begin(request, agent)
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
        if self._ticket.ready is not None or request.guard is not None or request.replaces is not None:
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
        waited = self._ticket.ready is not None
        self._ticket.wait(timeout, self.token)
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
        self._ticket.leave()

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
        session.on_step = self.tell_step if request.watch else None
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
                self._pristine = _pristine(request)
        elif self._pristine is not None:
            message, args = map(jsontext.copied, self._pristine)  # a third attempt may follow
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

    def whole_as_piece(self) -> bool:
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
        retryable = iterating and not self.log.has_spoken and _can_pass(error)
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
        """Whether what is written of it, several copies of what was said, counts beside what there is."""
        return self.account.size > _LARGE

    def _commit(self, action: Commit) -> Action | None:
        try:
            record = self._record(action.ending)
            if record is not None:
                with spans.commit(self._span):
                    self._store.commit(record)
        except BaseException as error:  # noqa: BLE001 - a SystemExit of what was appended, a kill: the turn failed
            return self._committed(action, error)
        return self._committed(action, None)

    @property
    def is_settled(self) -> bool:
        """Whether nothing of what was appended is still to be read, which may block."""
        appended = () if self._session is None else list(self._session.session_vars_dict.values())
        return not any(isinstance(each.content, (ContentStream, AsyncContentStream)) for each in appended)

    def commit_later(self, action: Commit) -> bool:
        """Begins to write what is kept of the turn, which takes its last steps in another thread then.

        False: nothing was begun, and :meth:`commit` is to be called.
        """
        store: Any = self._store
        if self._span is not None or self._is_large or not getattr(store, "commits_later", False):
            return False
        try:
            record = self._record(action.ending)
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

    def _record(self, ending: Ending) -> TurnRecord | None:
        folded = self._settle(ending)
        rows, keep = self._rows(ending), self.request.keep
        if not rows and (keep is None or not keep.texts or self.request.forget):
            return None
        entry = self._entry(ending, folded)
        if self._lock_held is not None:
            self._lock_held.check()
        return TurnRecord(
            self.request.session_id, self.request.request_id, rows, entry, self._rows_replaced(ending, folded)
        )

    def _settle(self, ending: Ending) -> Folded | None:
        """What the log comes to, and makes the answer what it is in the end; None: the log is empty."""
        log, answer = self.log, self.answer
        folded = fold(log.entries, log.others) if log.entries else None
        if answer is None:
            return folded
        if folded is not None and log.others:
            if folded.usage:
                answer.token_usage = dict(folded.usage)
            if self.has_emitted_text:
                answer.content = folded.content
        if ending is Ending.WHOLE:
            check_members(answer)  # a stream may have changed them
        self._members = dump(answer)
        return folded

    def _rows_replaced(self, ending: Ending, folded: Folded | None) -> Sequence[str]:
        """Ids of the rows this turn takes the place of; none where it failed, or said nothing before it was
        cut."""
        if self._replaced is None or ending is Ending.FAILED:
            return ()
        said = ending is Ending.WHOLE or (folded is not None and bool(text_of(folded.content)))
        return self._replaced.rows if said else ()

    def _rows(self, ending: Ending) -> list[tuple[str, dict[str, Any]]]:
        if ending is Ending.FAILED or self.request.forget:
            return []
        whole = ending is Ending.WHOLE
        appended = self._session.session_vars_dict if self._session is not None else {}
        rows = []
        for key, message in list(appended.items()):
            if whole:
                # Appended, but not the answer that was sent: it is still to be read.
                if isinstance(message.content, ContentStream):
                    self.context.run(settle, message)
                elif isinstance(message.content, AsyncContentStream):
                    deque(iterate(message.content, self.context), maxlen=0)
            members = dict(self._members) if message is self.answer else dump(message)
            # What is remembered under our own keys (an application's conversation) holds for a part as well.
            if not whole and not key.startswith(RESERVED_PREFIX):
                members[STATE] = INCOMPLETE
            rows.append((key, members))
        return rows

    def _entry(self, ending: Ending, folded: Folded | None) -> TurnEntry | None:
        if self.request.keep is None or self.request.forget:
            return None
        message = self.request.message if self._pristine is None else self._pristine[0]
        self.milliseconds = round(1000 * (clock.monotonic() - self.began))
        if folded is not None and not self.log.count and self._members:
            # The answer came whole, after events that were logged.
            folded = replace(folded, content=self._members.get("content"))
        return keeping.entry(
            self.request.keep,
            ending,
            message=message,
            answer=self._members or None,
            said=folded,
            error=self.error,
            attachments=self.request.attachments,
            milliseconds=self.milliseconds,
        )

    def _end(self) -> None:
        if self.state.phase is Phase.DONE and self.answer is not None:
            outcome = Outcome(answer=self._members or dump(self.answer))
        else:
            outcome = Outcome(error=self.error or TurnCancelled("The turn was stopped."))
        self._release()
        self.account.let_go()
        calls = 0 if self._session is None else self._session.model_calls
        span, ids = self._span, lambda: self.ids
        telling.ended(self.request, self.state, self.log, outcome, span=span, ids=ids, model_calls=calls)
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
        telemetry.sink().first_piece(self.request.door, clock.monotonic() - self.began)


def _pristine(request: TurnRequest) -> tuple[Any, Mapping[str, Any]] | None:
    """A copy of what a component might change, for a retry and for what is kept of the turn."""
    if not request.args and isinstance(request.message, (str, int, float, type(None))):
        return None
    return jsontext.copied(request.message), jsontext.copied(request.args)


_LARGE = 1024 * 1024
"""Bytes."""
_large_commits = PerProcess(lambda: threading.BoundedSemaphore(2))
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


def _can_pass(error: BaseException) -> bool:
    """Whether the same attempt might succeed: not where the input or the caller is at fault."""
    return isinstance(error, Exception) and not isinstance(error, (ValueError, RequestError, TurnCancelled))
