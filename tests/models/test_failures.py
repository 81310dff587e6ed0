"""Foreign errors become ours in one place; none of the libraries' own is forgotten."""

from __future__ import annotations

import inspect
import socket
import ssl
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import openai
import pytest

from appbuilder.errors import (
    AppBuilderError,
    ConfigurationError,
    ModelError,
    ModelRejected,
    ModelUnavailable,
    RateLimited,
)
from appbuilder.models import failures
from appbuilder.models import openai as openai_module
from appbuilder.models.failures import Failure, of_status, of_transport, retry_after
from appbuilder.protocols.errors import to_problem
from appbuilder.settings import Settings

REQUEST = httpx2.Request("POST", "http://x")
# Bases, named so that a new subclass still has to find its row.
GENERAL = {httpx2.HTTPError, httpx2.ProtocolError, httpx2.RequestError, httpx2.TransportError}
ELSEWHERE = {"SSEError"}  # raised by EventSource alone, which we do not use


def errors_of(module: object) -> list[type[Exception]]:
    return [value for _, value in inspect.getmembers(module, inspect.isclass) if issubclass(value, Exception)]


def made(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind)
    Exception.__init__(error, "m")
    if kind is httpx2.HTTPStatusError:
        error.response = httpx2.Response(503, request=REQUEST)  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize("kind", errors_of(httpx2))
def test_every_error_of_httpx2_has_its_row(kind: type[Exception]) -> None:
    if kind in GENERAL or kind.__name__ in ELSEWHERE:
        return
    assert issubclass(kind, failures.FOREIGN)
    error = made(kind)
    found = of_transport(error).error
    if kind is httpx2.HTTPStatusError:
        assert isinstance(found, ModelUnavailable)
    elif kind in failures.MISADDRESSED:
        assert isinstance(found, ConfigurationError)
    else:
        assert any(isinstance(error, row[0]) for row in failures.TRANSPORT), kind
        assert isinstance(found, ModelError)


def test_there_are_errors_to_look_at() -> None:
    assert len(errors_of(httpx2)) > 20
    assert len(errors_of(openai)) > 15


# What cannot come out of a streamed chat completion: structured parsing, webhooks, web sockets, logins.
OTHER_ENDS = {
    "ContentFilterFinishReasonError",
    "InvalidWebhookSignatureError",
    "LengthFinishReasonError",
    "OAuthError",
    "OpenAIError",
    "SubjectTokenProviderError",
    "WebSocketConnectionClosedError",
    "WebSocketQueueFullError",
    "_AmbiguousModuleClientUsageError",
}
STATUSES = {
    "APIStatusError": 418,
    "AuthenticationError": 401,
    "BadRequestError": 400,
    "ConflictError": 409,
    "InternalServerError": 500,
    "NotFoundError": 404,
    "PermissionDeniedError": 403,
    "RateLimitError": 429,
    "UnprocessableEntityError": 422,
}


@pytest.mark.parametrize("kind", errors_of(openai))
def test_every_error_of_openai_is_mapped(kind: type[Exception]) -> None:
    name = kind.__name__
    if name in OTHER_ENDS:
        return
    if name in STATUSES:
        response = httpx2.Response(STATUSES[name], request=REQUEST, headers={"x-request-id": "r"})
        error: Exception = kind("m", response=response, body={"message": "m"})  # type: ignore[call-arg]
        expected = of_status(STATUSES[name]).error
        assert type(openai_module._failure_of(error).error) is type(expected)
        return
    assert name in {"APIConnectionError", "APIError", "APIResponseValidationError", "APITimeoutError"}
    error = made(kind)
    error.__dict__.update(body=None, message="m", code=None, type=None)
    assert isinstance(openai_module._failure_of(error).error, ModelError)


def test_the_cause_of_openais_connection_errors_is_looked_at() -> None:
    error = openai.APIConnectionError(request=REQUEST)
    error.__cause__ = httpx2.ConnectError("m")
    assert "could not be reached" in str(openai_module._failure_of(error).error)
    late = openai.APITimeoutError(request=REQUEST)
    assert "in time" in str(openai_module._failure_of(late).error)


@pytest.mark.parametrize(
    ("called", "expected"),
    [
        ("http://10.0.0.9:8080/v1/chat?key=secret", "could not be reached. The call went to 10.0.0.9:8080."),
        ("https://user:secret@model.test/v1", "The call went to model.test:443; see OPENAI_BASE_URL."),
        ("http://[::1]:7/x", "The call went to [::1]:7; see GATEWAY_URL and GATEWAY_URL_V2."),
    ],
)
def test_where_a_call_went_is_told_with_the_setting_and_without_credentials(
    called: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://user:secret@MODEL.test:443/v1?key=secret")
    monkeypatch.setenv("GATEWAY_URL", "http://[::1]:7")
    monkeypatch.setenv("GATEWAY_URL_V2", "http://[::1]:7/")
    error = httpx2.ConnectError("m", request=httpx2.Request("POST", called))
    told = of_transport(error).error
    assert str(told).endswith(expected)
    assert "secret" not in str(told)
    assert (
        to_problem(told).text == "The model server failed; the service's log says why, under the request id."
    )


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (socket.gaierror(-2, "unknown"), "could not be reached: its name cannot be resolved."),
        (ConnectionRefusedError(111, "refused"), "could not be reached: the connection was refused"),
        (ssl.SSLError(1, "WRONG_VERSION_NUMBER"), "could not be reached: TLS failed; a server of plain HTTP"),
        (OSError(101, "unreachable"), "could not be reached."),
    ],
)
def test_why_a_server_cannot_be_reached(cause: OSError, said: str) -> None:
    error = httpx2.ConnectError("m")
    error.__cause__ = cause
    assert said in str(of_transport(error).error)


def test_an_untrusted_certificate_is_named() -> None:
    cause = ssl.SSLCertVerificationError(1, "m")
    cause.verify_message = "self-signed certificate"
    error = httpx2.ConnectError("m")
    error.__context__ = cause
    assert "its certificate is not trusted (self-signed certificate)" in str(of_transport(error).error)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("https://models.test/v1/chat", "Check the credential (OPENAI_API_KEY)."),
        ("https://appbuilder.baidu.com/rpc", "Check the credential (APPBUILDER_TOKEN)."),
        ("https://elsewhere.test/", "Check the credential."),
    ],
)
def test_which_credential_was_refused(url: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://models.test/v1")
    monkeypatch.delenv("GATEWAY_URL", raising=False)
    response = httpx2.Response(401, request=httpx2.Request("POST", url))
    assert str(of_status(401, response=response).error).endswith(hint)


def test_what_a_server_says_is_shortened_and_holds_no_key() -> None:
    text = str(of_status(400, code="c", text=f"your key sk-abc123 and bce-v3/ALTAK-x/y {'x' * 1000}").error)
    assert "sk-" not in text
    assert "ALTAK" not in text
    assert len(text) < 400


@pytest.mark.parametrize("words", ["my secret plan for 2027", "你好，请保守这个秘密", "hush!"])
def test_what_a_server_repeats_of_the_request_stays_out_of_error_and_traceback(words: str) -> None:
    cause = openai.APIError(f"invalid input: {words}", REQUEST, body=None)
    failure = of_status(400, code="bad", text=f"invalid input: {words}")
    failure.__cause__ = cause
    with pytest.raises(ModelRejected, match="left out") as raised:
        failures.describe_failure(failure, ["another text", words])
    assert words not in "".join(traceback.format_exception(raised.value))
    with pytest.raises(ModelRejected, match="invalid input: temperature"):
        failures.describe_failure(of_status(400, text="invalid input: temperature"), [words])


@pytest.mark.parametrize(
    ("value", "seconds"), [("3", 3.0), ("0", 0.0), ("", None), ("soon", None), ("-1", None), ("nan", None)]
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}) == seconds


def test_retry_after_as_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=60)
    found = retry_after({"retry-after": format_datetime(later, usegmt=True)})
    assert found is not None
    assert 50 < found <= 60


def test_pauses_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(failures, "_wait", lambda seconds, _token: pauses.append(seconds))

    def attempt() -> None:
        raise Failure(RateLimited("m"), again=True)

    with pytest.raises(RateLimited):
        failures.with_retries(attempt, Settings(model_retries=4, retry_backoff=0.2), None)
    assert len(pauses) == 4
    for number, pause in enumerate(pauses):
        assert 0.1 * 2**number <= pause <= 0.3 * 2**number


def test_an_error_of_ours_is_not_tried_again() -> None:
    tries = []

    def attempt() -> None:
        tries.append(1)
        raise AppBuilderError("m")

    with pytest.raises(AppBuilderError):
        failures.with_retries(attempt, Settings(), None)
    assert len(tries) == 1
