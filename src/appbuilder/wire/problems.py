"""The one table from an error to its HTTP status and to what the client is told."""

from __future__ import annotations

import math
import traceback
from dataclasses import dataclass

from appbuilder import errors
from appbuilder.jsontext import dumps

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
    (errors.ConfigurationError, 500, "The service is not set up rightly; its log says what to do."),
)
_UNKNOWN = (500, "The component failed; the service's log says why, under the request id.")


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as the client sees it. ``retry_after`` is in whole seconds, 0: no such header."""

    status: int
    text: str
    retry_after: int = 0
    traceback: str | None = None


def problem(error: BaseException, *, debug: bool = False) -> Problem:
    """What the client is told of *error*; with *debug* the traceback too."""
    status, text = next(
        ((status, text) for kind, status, text in _TABLE if isinstance(error, kind)), _UNKNOWN
    )
    later = error.retry_after if isinstance(error, (errors.ServiceUnavailable, errors.RateLimited)) else 0
    return Problem(
        status,
        str(error) if text is None else text,
        math.ceil(later),
        "".join(traceback.format_exception(error)) if debug else None,
    )


def envelope(what: Problem, request_id: str) -> bytes:
    """The error body: the envelope of an answer, with a code, the request's id, and no result."""
    body = {"code": what.status, "message": what.text, "request_id": request_id, "result": None}
    if what.traceback is not None:
        body["traceback"] = what.traceback
    return dumps(body)
