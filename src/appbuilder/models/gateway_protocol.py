"""What AppBuilder's two gateways share: tokens, reading an answer, telling an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx2

from appbuilder.core.credentials import missing_token
from appbuilder.errors import ConfigurationError, ModelUnavailable, Unauthenticated
from appbuilder.models import failures
from appbuilder.models.failures import Failure
from appbuilder.models.response_body import Body, HtmlAnswer, json_object
from appbuilder.models.sse_decoder import ErrorEvent
from appbuilder.models.timeouts import Patience

REQUEST_ID = "X-Appbuilder-Request-Id"

_STATUS_OF_CODE = {
    # Recorded from the gateway.
    "InvalidToken": 401,
    # Baidu AI Cloud's common error codes (cloud.baidu.com, "公共错误码").
    "InvalidAccessKeyId": 401,
    "InternalError": 500,
    "ServiceUnavailable": 503,
    # Qianfan's error codes (cloud.baidu.com, "千帆 错误码"): quotas, tokens, overload.
    "4": 429,
    "18": 429,
    "110": 401,
    "111": 401,
    "336000": 500,
    "336100": 503,
    "336501": 429,
    "336502": 429,
}


def checked_token(credential: Callable[[], str] | None, callers_credential: bool) -> str:
    """The token *credential* returns.

    :param callers_credential: it came with the request that is being answered.
    :raises ConfigurationError: it is missing, or the program's own has characters no token has.
    :raises Unauthenticated: the request brought none, or one with such characters.
    """
    if credential is None:
        raise missing_token()
    token = credential()
    if not (token.isascii() and token.isprintable()):
        text = "The AppBuilder token has characters no token has."
        raise Unauthenticated(text) if callers_credential else ConfigurationError(text)
    return token


def whole(response: httpx2.Response, patience: Patience, callers_credential: bool) -> dict[str, Any]:
    """The members of an answer that is one JSON object.

    :raises Failure: it tells an error, or is an HTML page.
    :raises ValueError: it cannot be read.
    """
    body = Body(response, patience)
    try:
        members = body.json()
    except HtmlAnswer:
        raise failures.of_html(response) from None
    raise_error_in(members, response, callers_credential)
    return members


class Events:
    """The members of each event of a streamed answer; of one that came whole, as errors do, its own.

    ``ended`` says whether the end was reported by an event.
    """

    def __init__(self, response: httpx2.Response, patience: Patience, callers_credential: bool) -> None:
        self.ended = False
        self._response = response
        self._patience = patience
        self._callers = callers_credential

    def __iter__(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Members, and the bytes they came in. Raises, while iterated, as :func:`whole` does."""
        body = Body(self._response, self._patience)
        if body.is_json:
            members = body.json()
            raise_error_in(members, self._response, self._callers)
            self.ended = True
            yield members, 0
            return
        try:
            for data in body.events():
                if data.strip() == b"[DONE]":
                    self.ended = True
                    break
                members = json_object(data)
                raise_error_in(members, self._response, self._callers)
                if isinstance(data, ErrorEvent):
                    raise _failure(members, self._response, self._callers, 500)
                yield members, len(data)
        except HtmlAnswer:
            raise failures.of_html(self._response) from None
        except httpx2.HTTPError:
            if not self.ended:
                raise
        body.drain()


def refusal(response: httpx2.Response, callers_credential: bool) -> Failure:
    """The failure a response with another status than 200 is."""
    try:
        data = json_object(response.read())
    except ValueError:
        data = {}
    return _failure(data, response, callers_credential, response.status_code)


def raise_error_in(data: Mapping[str, Any], response: httpx2.Response, callers_credential: bool) -> None:
    """:raises Failure: *data*, though its status is 200, tells an error."""
    coded = bool(data.get("code")) or ("code" in data and ("requestId" in data or "status" in data))
    if (coded and "message" in data) or data.get("error_code"):
        raise _failure(data, response, callers_credential, 200)


def unreadable(error: Exception) -> Failure:
    """The failure an error while reading an answer is: one of httpx2's, or that of a malformed answer."""
    if isinstance(error, failures.FOREIGN):
        return failures.of_transport(error)
    return Failure(ModelUnavailable("The model server's answer cannot be read."))


def _failure(
    data: Mapping[str, Any], response: httpx2.Response, callers_credential: bool, status: int
) -> Failure:
    code = str(data.get("code") or data.get("error_code") or "")
    meant = int(code) if code.isdigit() and 400 <= int(code) < 600 else _STATUS_OF_CODE.get(code, 400)
    return failures.of_status(
        # A status of its own says more than the code, but for refused credentials.
        meant if status == 200 or meant == 401 else status,
        code=code,
        text=str(data.get("message") or data.get("error_msg") or ""),
        request_id=str(data.get("requestId") or response.headers.get(REQUEST_ID, "")),
        after=failures.retry_after(response.headers),
        callers_credential=callers_credential,
        response=response if status != 200 else None,
    )
