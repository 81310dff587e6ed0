"""Lines of a service's log: as text, or as one JSON object each."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from appbuilder import jsontext, tracing
from appbuilder.errors import AppBuilderError, RequestError

IDS = ("request_id", "session_id", "run_id", "trace_id", "span_id")
FURTHER = ("method", "route", "status", "milliseconds", "texts")
"""What a line may carry besides its message, as attributes of its record."""

WITHHELD = "(text left out; APPBUILDER_LOG_TEXTS=true shows it)"

_TurnIds = Callable[[], Mapping[str, str]]


class Handler(logging.StreamHandler[Any]):
    """The one handler of a service's process: to standard error."""


def handler(form: str, *, texts: bool, turn_ids: _TurnIds) -> Handler:
    """A handler that writes lines of *form*; see :func:`appbuilder.logs.configure_service`."""
    made = Handler()
    made.addFilter(_WithIds(turn_ids))
    made.setFormatter(JsonLines(texts=texts) if form == "json" else TextLines(texts=texts))
    return made


class _WithIds(logging.Filter):
    """Adds the ids of the turn and the trace a line was written in, where it does not bring them.

    So a component's own lines carry them too, as long as it logs in its turn's context: in the thread or task
    that runs it, and in tasks and ``asyncio.to_thread`` it starts from there; not in threads it makes itself.
    """

    def __init__(self, turn_ids: _TurnIds) -> None:
        super().__init__()
        self._turn_ids = turn_ids

    def filter(self, record: logging.LogRecord) -> bool:
        known = record.__dict__
        if "request_id" not in known:
            known.update(self._turn_ids())
        if "trace_id" not in known:
            known.update(tracing.ids())
        return True


class _Lines(logging.Formatter):
    def __init__(self, *, texts: bool) -> None:
        super().__init__()
        self._texts = texts

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The traceback; without the errors' texts, unless those are wanted."""
        if self._texts:
            return super().formatException(ei)
        return "".join(_error_text(ei[1], set())).rstrip() if ei[1] is not None else ""

    def _traceback(self, record: logging.LogRecord) -> str:
        # Not record.exc_text: another handler's formatter may have left the errors' texts there.
        told = self.formatException(record.exc_info) if record.exc_info else ""
        stack = self.formatStack(record.stack_info) if record.stack_info else ""
        return "\n".join(part for part in (told, stack) if part)


class TextLines(_Lines):
    """``2026-11-21T16:44:51.123Z INFO appbuilder message [request_id=... session_id=...]``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback's below it."""
        known = record.__dict__
        ids = " ".join(f"{name}={known[name]}" for name in IDS if known.get(name))
        line = f"{_time(record)} {record.levelname} {record.name} {record.getMessage()}"
        below = self._traceback(record)
        return line + (f" [{ids}]" if ids else "") + (f"\n{below}" if below else "")


class JsonLines(_Lines):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The object, without a line break in it."""
        known = record.__dict__
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage() if "texts" not in known else "what was said in a turn",
        }
        line |= {name: known[name] for name in (*IDS, *FURTHER) if known.get(name) is not None}
        line["pid"] = os.getpid()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["error"] = _kind(error)
        below = self._traceback(record)
        if below:
            line["traceback"] = below
        return jsontext.dumps(line).decode()


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _kind(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _error_text(error: BaseException, seen: set[int]) -> Iterator[str]:
    """A traceback as Python prints it, with each error's text left out unless this package wrote it."""
    seen.add(id(error))
    before, how = error.__cause__, "The above exception was the direct cause of the following exception"
    if before is None and not error.__suppress_context__:
        before, how = error.__context__, "During handling of the above exception, another exception occurred"
    if before is not None and id(before) not in seen:
        yield from _error_text(before, seen)
        yield f"\n{how}:\n\n"
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__)
    yield f"{_kind(error)}: {str(error) if is_ours(error) else WITHHELD}\n"
    for number, part in enumerate(getattr(error, "exceptions", ()), start=1):
        if isinstance(part, BaseException) and id(part) not in seen:
            yield f"\nPart {number} of {_kind(error)}:\n\n"
            yield from _error_text(part, seen)


def is_ours(error: BaseException) -> bool:
    """Whether an error's text is written by this package, which puts no user's words into it.

    A class of the package is not enough: a component may raise it with a text of its own. What is meant
    for the
    caller (a RequestError) may quote him.
    """
    if not isinstance(error, AppBuilderError) or isinstance(error, RequestError):
        return False
    return type(error).__module__ == "appbuilder.errors" and _raised_in_package(error)


def _raised_in_package(error: BaseException) -> bool:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    name = "" if frame is None else str(frame.tb_frame.f_globals.get("__name__", ""))
    return name.startswith("appbuilder.")
