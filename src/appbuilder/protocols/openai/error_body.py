"""Errors in OpenAI's form."""

from __future__ import annotations

from typing import Any

from appbuilder import errors, jsontext
from appbuilder.protocols.errors import Problem

_CODES: tuple[tuple[type[BaseException], str], ...] = (
    (errors.Unauthenticated, "invalid_api_key"),
    (errors.SessionBusy, "session_busy"),
    (errors.RateLimited, "rate_limit_exceeded"),
)
_NOT_FOUND = {"model": "model_not_found", "previous_response_id": "previous_response_not_found"}


def members(what: Problem, error: BaseException | None = None) -> dict[str, Any]:
    """The error as OpenAI tells it: message, type, param and code."""
    param = getattr(error, "param", "") or None
    code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
    if isinstance(error, errors.NotFound):
        code = _NOT_FOUND.get(param or "", "not_found")
    return {"message": what.text, "type": _type(what.status), "param": param, "code": code}


def body(what: Problem, error: BaseException, request_id: str) -> bytes:
    """The body of an answer that is an error; the request's id is added to OpenAI's members."""
    told = {**members(what, error), "request_id": request_id}
    if what.traceback is not None:
        told["traceback"] = what.traceback
    return jsontext.dumps({"error": told})


def _type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"
