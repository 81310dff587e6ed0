"""What is stored of a turn: what the component appended, and the turn itself, folded from its log."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from appbuilder import clock, jsontext
from appbuilder.core.context import SessionContext
from appbuilder.core.locks import SessionLock
from appbuilder.core.message import (
    AsyncContentStream,
    ContentStream,
    Message,
    check_members,
    dump,
    resolve_content,
    text_of,
)
from appbuilder.core.store import INCOMPLETE, RESERVED_PREFIX, STATE, ReplacedTurns, TurnEntry, TurnRecord
from appbuilder.engine import persistence
from appbuilder.engine.answer_limits import AnswerLimits
from appbuilder.engine.fold import Folded, fold
from appbuilder.engine.machine import Ending
from appbuilder.engine.memory_budget import Account
from appbuilder.engine.publisher import Publisher
from appbuilder.engine.threads.event_loop import iterate
from appbuilder.engine.turn_request import TurnRequest
from appbuilder.errors import AppBuilderError


class Recorder(Publisher):
    """The part of a turn that makes the record of it."""

    def __init__(self, request: TurnRequest, limits: AnswerLimits, account: Account) -> None:
        super().__init__(limits, account)
        self.request = request
        self.began = clock.monotonic()
        self.milliseconds: int | None = None
        self.answer: Message[Any] | None = None
        self.error: AppBuilderError | None = None
        # What the transport's thread knows (a tracing span, Flask's request) is known to the component too.
        self.context = contextvars.copy_context()
        self._session: SessionContext | None = None
        self._retry_arguments: tuple[Any, Mapping[str, Any]] | None = None
        self._replaced: ReplacedTurns | None = None
        self._lock_held: SessionLock | None = None
        self._members: dict[str, Any] = {}
        """Of the answer as JSON, from the record on."""

    @property
    def is_resolved(self) -> bool:
        """Whether nothing of what was appended is still to be read, which may block."""
        appended = () if self._session is None else list(self._session.session_vars_dict.values())
        return not any(isinstance(each.content, (ContentStream, AsyncContentStream)) for each in appended)

    def record(self, ending: Ending) -> TurnRecord | None:
        """What is to be stored of the turn; None: nothing. To be called once, when it has ended."""
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
                    self.context.run(resolve_content, message)
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
        message = self.request.message if self._retry_arguments is None else self._retry_arguments[0]
        self.milliseconds = round(1000 * (clock.monotonic() - self.began))
        if folded is not None and not self.log.count and self._members:
            # The answer came whole, after events that were logged.
            folded = replace(folded, content=self._members.get("content"))
        return persistence.turn_entry(
            self.request.keep,
            ending,
            message=message,
            answer=self._members or None,
            said=folded,
            error=self.error,
            attachments=self.request.attachments,
            milliseconds=self.milliseconds,
        )


def pristine(request: TurnRequest) -> tuple[Any, Mapping[str, Any]] | None:
    """A copy of what a component might change, for a retry and for what is kept of the turn."""
    if not request.args and isinstance(request.message, (str, int, float, type(None))):
        return None
    return jsontext.copied(request.message), jsontext.copied(request.args)
