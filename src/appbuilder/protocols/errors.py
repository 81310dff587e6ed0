"""The one table from an error to its HTTP status and to what the client sees."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appbuilder import errors
from appbuilder.errors import AppBuilderError, Audience
from appbuilder.jsontext import dumps, type_name
from appbuilder.log_format import is_ours
from appbuilder.logs import logger
from appbuilder.protocols.body import BrokenBody, UnreadBody

LONGEST_SHOWN = 1000
"""Characters of the text of a program's own error."""
_PACKAGE = str(Path(errors.__file__).parent)

# The first class that fits decides. Where the text is None the error's own is shown: it is written for the
# caller. Every other error's text may hold what is not the caller's to know, and only goes to the log.
_TABLE: tuple[tuple[type[BaseException], int, str | None], ...] = (
    (errors.InvalidRequest, 400, None),
    (errors.Unauthenticated, 401, None),
    (errors.Forbidden, 403, None),
    (errors.NotFound, 404, None),
    (errors.MethodNotAllowed, 405, None),
    (errors.SessionBusy, 409, None),
    (errors.PayloadTooLarge, 413, None),
    (errors.UnsupportedMediaType, 415, None),
    (errors.RateLimited, 429, None),
    (errors.StoreUnavailable, 503, "The conversations' database does not answer; try again in a moment."),
    (errors.ServiceUnavailable, 503, None),
    (
        errors.ValueNotStorable, 500,
        "The database cannot hold what was to be stored; the service's log says why, under the request id.",
    ),
    (errors.TurnTimeout, 504, None),
    (errors.TurnCancelled, 503, None),
    (errors.ModelTimeout, 504, "The model server did not answer in time; try again."),
    (errors.ModelError, 502, "The model server failed; the service's log says why, under the request id."),
    (errors.AnswerTooLarge, 500, None),
    (errors.ConfigurationError, 500, "The service is misconfigured. See the server log."),
)
_UNKNOWN = (500, "The component failed; the service's log says why, under the request id.")


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as the client sees it. ``retry_after`` is in whole seconds, 0: no such header."""

    status: int
    text: str
    retry_after: int = 0
    traceback: str | None = None


Write = Callable[[Problem, BaseException, str], bytes]
"""(problem, error, request id) -> the body that tells it."""


def to_problem(
    error: BaseException, *, debug: bool = False, audience: Audience = Audience.STRANGER
) -> Problem:
    """What *audience* sees of *error*; with *debug* the traceback too."""
    audience = Audience.DEVELOPER if debug else audience
    if isinstance(error, MemoryError):
        error = errors.out_of_memory()
    status, text = next(
        ((status, text) for kind, status, text in _TABLE if isinstance(error, kind)), _UNKNOWN
    )
    later = error.retry_after if isinstance(error, (errors.ServiceUnavailable, errors.RateLimited)) else 0
    return Problem(
        status,
        str(error) if text is None else (audience and _sentence(error, audience)) or text,
        math.ceil(later),
        "".join(traceback.format_exception(error)) if debug else None,
    )


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error as an answer over HTTP. ``headers`` are those of the error alone, with names in lower case."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


def error_answer(
    error: BaseException,
    request_id: str,
    *,
    debug: bool = False,
    audience: Audience = Audience.STRANGER,
    write: Write | None = None,
) -> ErrorAnswer:
    """The answer that says *error*; one that is not a known error is logged.

    :param write: makes the body; default: the SDK's envelope.
    """
    unread = isinstance(error, (errors.PayloadTooLarge, BrokenBody, UnreadBody))
    error = error.error if isinstance(error, UnreadBody) else error
    what = to_problem(error, debug=debug, audience=audience)
    if what.status >= 500 and not isinstance(error, AppBuilderError):
        logger.error("request %s failed", request_id, exc_info=error)
    headers = []
    if what.retry_after:
        headers.append(("retry-after", str(what.retry_after)))
    if isinstance(error, errors.MethodNotAllowed) and error.allowed:
        headers.append(("allow", error.allowed))
    if isinstance(error, errors.Unauthenticated):
        headers.append(("www-authenticate", "Bearer"))
    if what.status == 500 or isinstance(error, errors.TurnCancelled):
        # OpenAI's clients try these again twice: the component has had its attempts, or was stopped.
        headers.append(("x-should-retry", "false"))
    if unread:
        # What comes next on this connection is the rest of the body, if anything.
        headers.append(("connection", "close"))
    body = envelope(what, request_id) if write is None else write(what, error, request_id)
    return ErrorAnswer(what.status, headers, body)


def routing_error(status: int, text: str, allowed: str = "") -> AppBuilderError | None:
    """The error for one of a framework's routing; None: it is not the caller's fault.

    :param text: what the framework says.
    :param allowed: the methods that the address takes.
    """
    if status == 404:
        return errors.NotFound("Not found.")
    if status == 405:
        return errors.MethodNotAllowed("Method not allowed.", allowed)
    return errors.InvalidRequest(text) if status < 500 else None


def explained(
    error: AppBuilderError, *, debug: bool = False, audience: Audience = Audience.STRANGER
) -> dict[str, Any]:
    """The same as members: ``kind`` and ``text``; ``traceback``, in debug; ``own``, where the text is the
    error's own and not one that stands for all of its kind.
    """
    what = to_problem(error, debug=debug, audience=audience)
    told: dict[str, Any] = {"kind": type(error).__name__, "text": what.text}
    if audience and what.text != to_problem(error).text:
        told["own"] = True
    return told if what.traceback is None else {**told, "traceback": what.traceback}


def _sentence(error: BaseException, audience: Audience) -> str:
    """What the log says of an error, for who may read the log."""
    if error.__cause__ is not None and type(error) is errors.ComponentError:
        error = error.__cause__
    elif is_ours(error):
        return str(error)
    failed = f"The component failed{_place(error)}: {type_name(error)}"
    if audience is Audience.DEVELOPER:
        return f"{failed}: {str(error)[:LONGEST_SHOWN]}"
    return f"{failed}. Its text is shown with --reload."


def _place(error: BaseException) -> str:
    """The newest line of the program itself that an error came through."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if _is_programs(each.filename)]
    return f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""


def _is_programs(file: str) -> bool:
    return not file.startswith((_PACKAGE, sys.base_prefix, "<")) and "-packages" not in file


def envelope(what: Problem, request_id: str) -> bytes:
    """The error body: the envelope of an answer, with a code, the request's id, and no result."""
    body = {"code": what.status, "message": what.text, "request_id": request_id, "result": None}
    if what.traceback is not None:
        body["traceback"] = what.traceback
    return dumps(body)
