"""What went wrong with a model call: foreign errors as facts, once, and what is tried again.

A failure is reported by facts (an error of this package, whether it can pass, how long the server asks to
wait), and
the policy of trying again looks at these alone.
"""

from __future__ import annotations

import random
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NoReturn, TypeVar
from urllib.parse import urlsplit

import httpx2

from appbuilder import clock
from appbuilder.core.cancel import CancelToken
from appbuilder.core.credentials import with_scheme
from appbuilder.errors import (
    AppBuilderError,
    ConfigurationError,
    ModelError,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
    Unauthenticated,
)
from appbuilder.logs import logger
from appbuilder.models.timeouts import Patience
from appbuilder.settings import Settings

_T = TypeVar("_T")

LONGEST_WAIT = 5.0
"""Seconds; a server that asks for more gets no further try, its wish is passed on instead."""

_TEXT_LIMIT = 300
_QUOTE = 8
"""Characters in a row that make a quotation."""
_IN_BRACKETS = re.compile(r" \(.*\)", re.DOTALL)
# What keys look like: Baidu's, OpenAI's, and any in a quoted header.
_SECRET = re.compile(r"(?:bce-v3/|sk-|Bearer\s)[\w/+=.*-]+")


class Failure(Exception):
    """A failed attempt. ``again``: it can pass; ``after``: seconds the server asks to wait."""

    def __init__(self, error: AppBuilderError, *, again: bool = False, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.again = again
        self.after = after


_Transport = tuple[type[Exception], type[ModelError], bool, str]

# The first row that fits counts, so the narrower stand first.
TRANSPORT: tuple[_Transport, ...] = (
    (httpx2.ConnectTimeout, ModelTimeout, True, "The model server could not be reached in time."),
    (httpx2.TimeoutException, ModelTimeout, True, "The model server did not answer in time."),
    (httpx2.ProxyError, ModelUnavailable, True, "The proxy before the model server refused the connection."),
    (httpx2.ConnectError, ModelUnavailable, True, "The model server could not be reached."),
    (httpx2.NetworkError, ModelUnavailable, True, "The connection to the model server broke."),
    (httpx2.RemoteProtocolError, ModelUnavailable, True, "The model server broke its answer off."),
    (httpx2.LocalProtocolError, ModelRejected, False, "The call cannot be sent over HTTP."),
    (httpx2.DecodingError, ModelUnavailable, False, "The model server's answer cannot be decompressed."),
    (httpx2.TooManyRedirects, ModelUnavailable, False, "The model server redirects without end."),
    (httpx2.StreamError, ModelUnavailable, False, "The model server's answer was already closed."),
    (httpx2.CookieConflict, ModelUnavailable, False, "The model server's answer cannot be read."),
)
_MISPLACED = (404, 405)
"""Statuses of an address that leads nowhere."""
_ADDRESSES = ("gateway_url", "gateway_url_v2", "openai_base_url")
_KEYS = {"GATEWAY_URL": "APPBUILDER_TOKEN", "GATEWAY_URL_V2": "APPBUILDER_TOKEN",
         "OPENAI_BASE_URL": "OPENAI_API_KEY"}
MISADDRESSED = (httpx2.UnsupportedProtocol, httpx2.InvalidURL)
FOREIGN = (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, httpx2.CookieConflict)
"""All that httpx2 raises."""


def of_transport(error: Exception) -> Failure:
    """The failure an error of httpx2's is. *error* is one of :data:`FOREIGN`."""
    if isinstance(error, httpx2.HTTPStatusError):
        return of_status(error.response.status_code)
    if isinstance(error, MISADDRESSED):
        return Failure(
            ConfigurationError(
                "The model server's address must begin with http:// or https://; see GATEWAY_URL, "
                "GATEWAY_URL_V2 and OPENAI_BASE_URL."
            )
        )
    for kind, ours, again, text in TRANSPORT:
        if isinstance(error, kind):
            why = _why(error)
            told = f"{text[:-1]}: {why}." if why else text
            return Failure(ours(told + _called_at(error)), again=again)
    return Failure(ModelUnavailable("The model server's answer cannot be read."))


def of_html(response: httpx2.Response) -> Failure:
    """The failure an HTML page is that came with status 200: a login, a proxy, another server altogether."""
    text = "The model server answered with an HTML page, not with JSON."
    return Failure(ModelUnavailable(text + went_to(str(response.request.url))))


def _why(error: Exception) -> str:
    """What stands behind an error of the connection, where it says what to do."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return "TLS failed; a server of plain HTTP needs an address with http://"
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused, nothing listens there"
        cause = cause.__cause__ or cause.__context__
    return ""


def _called_at(error: Exception) -> str:
    """Where the call went that ended with *error*, for log and terminal, and the settings that say so."""
    try:
        return went_to(str(error.request.url))  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):  # it is not known
        return ""


def went_to(url: str) -> str:
    """That a call went to *url*, without what may be secret in it, and the settings that say so."""
    host, port = _place(url)
    named = _settings_of(url)
    see = f"; see {' and '.join(named)}" if named else ""
    return f" The call went to {f'[{host}]' if ':' in host else host}:{port}{see}."


def _settings_of(url: str) -> list[str]:
    """The variables of the addresses that *url* is at."""
    settings, place = Settings.load(), _place(url)
    addresses = {each.metadata["env"]: getattr(settings, each.name)
                 for each in fields(Settings) if each.name in _ADDRESSES}
    return [variable for variable, address in addresses.items() if _place(address) == place]


def _place(address: str) -> tuple[str, int]:
    parts = urlsplit(with_scheme(address))
    try:
        return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError:  # of an address no one has called
        return "", 0


def of_status(
    status: int,
    *,
    code: str = "",
    text: str = "",
    request_id: str = "",
    after: float | None = None,
    callers_credential: bool = False,
    response: httpx2.Response | None = None,
) -> Failure:
    """The failure an HTTP status (or a code that means the same) is.

    :param code: the server's own code; *text* what it says, shown shortened.
    :param callers_credential: the credential came with the request, so the caller gets 401.
    :param response: whose status it is; its address is named if that may be wrong.
    """
    said = " ".join(part for part in (str(status), code if code != str(status) else "", _short(text)) if part)
    error: AppBuilderError
    if status == 401 and callers_credential:
        return Failure(Unauthenticated("The model server does not accept this credential."))
    if status == 429:
        wait = 1.0 if after is None else after
        return Failure(RateLimited("The model server wants fewer calls.", wait), again=True, after=after)
    if status in (408, 504):
        error = ModelTimeout(f"The model server gave up waiting ({said}).", request_id=request_id)
        return Failure(error, again=True, after=after)
    if status >= 500:
        error = ModelUnavailable(f"The model server failed ({said}).", request_id=request_id)
        return Failure(error, again=True, after=after)
    hint = f" Check the credential{_key(response)}." if status in (401, 403) else ""
    if response is not None and (status < 400 or status in _MISPLACED):
        hint = _elsewhere(response)
    error = ModelRejected(
        f"The model server refused the call ({said}).{hint}", code=code or status, request_id=request_id
    )
    return Failure(error)


def _key(response: httpx2.Response | None) -> str:
    """The variables that hold the credential of whoever sent *response*."""
    if response is None:
        return ""
    named = {_KEYS[each] for each in _settings_of(str(response.request.url))}
    return f" ({' or '.join(sorted(named))})" if named else ""


def _elsewhere(response: httpx2.Response) -> str:
    """What to say of an answer that speaks of another address."""
    there = urlsplit(response.headers.get("location", ""))
    if response.is_redirect and there.hostname:
        leads = f" It redirects to {there.scheme or 'http'}://{there.hostname}; give that address itself."
    else:
        leads = " Is the path of the address right? That of an OpenAI-compatible server often ends with /v1."
    return leads + went_to(str(response.request.url))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds the header ``Retry-After`` asks for, given as seconds or as a date (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value)) if value.isascii() and value.isdigit() else _until(value)
    except ValueError:
        return None


def describe_failure(failure: Failure, texts: Sequence[str]) -> NoReturn:
    """Raises the error of *failure*. It will be logged: what the server repeats of *texts* is left out."""
    error, cause = failure.error, failure.__cause__
    if isinstance(error, ModelError) and _repeats(str(error), texts):
        error.args = (_IN_BRACKETS.sub(" (its words repeat the request and are left out)", str(error)),)
    # httpx2's errors speak of connections; the others hold what the server said, keys and all.
    raise error from (cause if isinstance(cause, FOREIGN) else None)


def _repeats(said: str, texts: Sequence[str]) -> bool:
    for text in texts:
        plain = " ".join(text.split())
        if 3 <= len(plain) < _QUOTE and plain in said:
            return True
        if any(said[at : at + _QUOTE] in plain for at in range(len(said) - _QUOTE + 1)):
            return True
    return False


def with_retries(
    attempt: Callable[[], _T],
    settings: Settings,
    token: CancelToken | None,
    texts: Sequence[str] = (),
    patience: Patience | None = None,
) -> _T:
    """*attempt*'s result; a :class:`Failure` that can pass is tried again, with growing, uneven pauses.

    Only for what comes before the first byte of an answer.

    :param texts: what the call holds of users' words; see :func:`describe_failure`.
    :param patience: what all tries together may take.
    :raises AppBuilderError: the last failure's error.
    :raises TurnCancelled: *token* was set meanwhile; it ends a pause too.
    """
    if patience is not None:
        patience.left()  # it counts from now on, connecting included
    for number in range(settings.model_retries + 1):
        if token is not None:
            token.raise_if_cancelled()
        try:
            return attempt()
        except Failure as failure:
            last = number == settings.model_retries
            if last or not failure.again or (failure.after or 0.0) > LONGEST_WAIT:
                describe_failure(failure, texts)
            pause = settings.retry_backoff * 2**number * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
            pause = max(pause, failure.after or 0.0)
            if patience is not None and patience.left() <= pause:
                describe_failure(failure, texts)
            what = type(failure.error).__name__
            logger.info("a model call failed (%s); trying again in %.1f s", what, pause)
            _wait(pause, token)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _wait(seconds: float, token: CancelToken | None) -> None:
    if token is None:
        time.sleep(seconds)
    else:
        token.sleep(seconds)


def _until(date: str) -> float:
    moment = parsedate_to_datetime(date)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return max(0.0, (moment - clock.now()).total_seconds())


def _short(text: str) -> str:
    plain = _SECRET.sub("…", " ".join(text.split()))
    return plain if len(plain) <= _TEXT_LIMIT else f"{plain[:_TEXT_LIMIT]}…"
