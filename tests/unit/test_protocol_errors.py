from __future__ import annotations

import inspect
import json

import pytest

from appbuilder import errors
from appbuilder.protocols.errors import envelope, to_problem

STATUS = {
    "InvalidRequest": 400, "Unauthenticated": 401, "NotFound": 404, "MethodNotAllowed": 405,
    "SessionBusy": 409,
    "PayloadTooLarge": 413, "UnsupportedMediaType": 415, "RateLimited": 429, "ComponentError": 500,
    "AnswerError": 500, "AnswerTooLarge": 500,
    "ConfigurationError": 500, "ValueNotStorable": 500, "ModelUnavailable": 502,
    "ModelRejected": 502, "ModelError": 502,
    "ModelTimeout": 504, "Overloaded": 503, "Draining": 503, "StoreUnavailable": 503,
    "ServiceUnavailable": 503, "TurnCancelled": 503, "TurnTimeout": 504, "Forbidden": 403,
    "AppBuilderError": 500,
}
TREE = {name: kind for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.AppBuilderError)}


def test_every_error_has_its_status() -> None:
    leaves = set(TREE) - {"RequestError"}  # never raised by itself
    assert leaves == set(STATUS)


@pytest.mark.parametrize("name", sorted(STATUS))
def test_what_is_not_written_for_the_caller_is_not_shown(name: str) -> None:
    error = TREE[name]("secret-words")
    what = to_problem(error)
    assert what.status == STATUS[name]
    written_for_the_caller = (
        errors.RequestError, errors.ServiceUnavailable, errors.TurnCancelled, errors.AnswerTooLarge
    )
    shown = isinstance(error, written_for_the_caller) and not isinstance(error, errors.StoreUnavailable)
    assert ("secret-words" in what.text) == shown
    assert what.traceback is None


class OddCode(Exception):
    """The SDK takes such a code for a status."""

    code = 200


@pytest.mark.parametrize("error", [OddCode("secret-words"), SystemExit(3), RecursionError("secret-words")])
def test_whatever_else_is_raised_is_a_500_with_a_fixed_text(error: BaseException) -> None:
    what = to_problem(error)
    assert what.status == 500
    assert "secret-words" not in what.text


def test_the_envelope() -> None:
    body = json.loads(envelope(to_problem(errors.Overloaded("busy", retry_after=1.2)), "request-1"))
    assert body == {"code": 503, "message": "busy", "request_id": "request-1", "result": None}
    assert to_problem(errors.Overloaded("busy", retry_after=1.2)).retry_after == 2


def test_in_debug_the_traceback_is_shown() -> None:
    try:
        raise RuntimeError("why")
    except RuntimeError as error:
        body = json.loads(envelope(to_problem(error, debug=True), "r"))
    assert "RuntimeError: why" in body["traceback"]
