"""Calls of the AppBuilder service (version 2 of its API), on the recorded wire.

What begins something (a conversation, a run, an upload, a feedback) is sent once: it is tried again only
where no connection could be made, as it is unknown what a request that went out has started. What only asks
is tried again like a model call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import httpx2

from appbuilder import jsontext
from appbuilder.components.app_client import answers
from appbuilder.components.app_client.schemas import AppBuilderClientAnswer
from appbuilder.core.credentials import gateway_headers, with_scheme
from appbuilder.models import failures, http_client
from appbuilder.models.base import Timeout
from appbuilder.models.failures import Failure, with_retries
from appbuilder.models.gateway_protocol import REQUEST_ID, checked_token, refusal, unreadable, whole
from appbuilder.models.network import current_token
from appbuilder.models.response_stream import Reader, ResponseStream, Sent
from appbuilder.models.timeouts import Patience
from appbuilder.settings import Settings

_T = TypeVar("_T")

_NOTHING_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError)

Parts = Sequence[tuple[str, Any]]
"""A form: names, and values as httpx2 takes them."""

Told = tuple[dict[str, Any], str]
"""The members of an answer, and the service's id of the call."""


class AppService:
    """The service at *address*, as one credential reaches it.

    :param address: the gateway's; empty: the settings'.
    :param credential: returns the token valid now.
    :param callers_credential: True where that token came with the request that is being answered.
    """

    def __init__(
        self,
        address: str,
        credential: Callable[[], str],
        *,
        callers_credential: bool = False,
        timeout: Timeout = None,
    ) -> None:
        self._settings = Settings.load()
        self._address = with_scheme(address or self._settings.gateway_url_v2)
        self._credential = credential
        self._callers = callers_credential
        self._timeout = timeout

    def begin(self, path: str, body: Mapping[str, Any], texts: Sequence[str] = ()) -> Told:
        """Posts *body* once.

        :param texts: what *body* holds of users' words.
        :raises ModelError: the service could not be reached, failed, or refused the call.
        :raises Unauthenticated: it refused the caller's credential.
        :raises RateLimited: it wants fewer calls.
        :raises TurnCancelled: the current turn was stopped.
        """
        return self._call(self._json("POST", path, body), _ONCE, texts)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The same for a call that changes nothing, and is tried again like a model call."""
        return self._call(self._json(method, path, body), _OFTEN, ())[0]

    def upload(self, path: str, parts: Parts, texts: Sequence[str]) -> Told:
        """Posts a form once; its file is read while it is sent. Raises as :meth:`begin` does."""
        wait = http_client.timeouts(self._settings, self._timeout)
        # The file may take its time; what is sent of it at once may not.
        wait.write = float(http_client.patience(wait))
        request = self._request("POST", path, wait=wait, files=parts)
        return self._call(request, _ONCE, texts, sends_for_long=True)

    def run(
        self, path: str, body: Mapping[str, Any], texts: Sequence[str]
    ) -> ResponseStream[AppBuilderClientAnswer]:
        """Posts a run once; returns when its answer began. Raises, also while iterated, as :meth:`begin`."""
        request = self._json("POST", path, body)
        patience = _patience(request)

        def send() -> Sent[AppBuilderClientAnswer]:
            response = self._send(request)
            read = answers.streamed if body["stream"] else answers.whole
            return response, read(response, patience, self._callers)

        return _ONCE.begin(send, self._settings, patience, REQUEST_ID, texts)

    def _call(
        self, request: httpx2.Request, reader: Reader, texts: Sequence[str], *, sends_for_long: bool = False
    ) -> Told:
        patience = _patience(request)

        def attempt() -> Told:
            response = self._send(request)
            try:
                members = whole(response, patience, self._callers)
            finally:
                response.close()
            return members, response.headers.get(REQUEST_ID, "")

        of_all = None if sends_for_long else patience
        return with_retries(lambda: reader.read(attempt), self._settings, current_token(), texts, of_all)

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx2.Request:
        content = None if body is None else jsontext.dumps(body)
        return self._request(method, path, {"Content-Type": "application/json"}, content=content)

    def _request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        wait: httpx2.Timeout | None = None,
        **body: Any,
    ) -> httpx2.Request:
        sent = gateway_headers(checked_token(self._credential, self._callers))
        sent["Authorization"] = sent.pop("X-Appbuilder-Authorization")
        try:
            return http_client.client().build_request(
                method,
                f"{self._address}{path}",
                headers={**sent, **(headers or {})},
                timeout=http_client.timeouts(self._settings, self._timeout) if wait is None else wait,
                **body,
            )
        except httpx2.InvalidURL as error:
            raise failures.of_transport(error).error from None

    def _send(self, request: httpx2.Request) -> httpx2.Response:
        response = http_client.client().send(request, stream=True)
        if response.status_code != 200:
            raise refusal(response, self._callers)
        return response


def _patience(request: httpx2.Request) -> Patience:
    patience = request.extensions["timeout"]["read"]
    assert isinstance(patience, Patience)
    return patience


class _Often(Reader):
    """Reads the answers of calls that change nothing. Its errors speak of AppBuilder."""

    def read(self, work: Callable[[], _T]) -> _T:
        try:
            return super().read(work)
        except Failure as failure:
            text = str(failure.error)
            failure.error.args = (re.sub("[Tt]he model server", "AppBuilder", text), *failure.error.args[1:])
            raise


class _Once(_Often):
    """Reads the answers of calls that may have begun something as soon as a byte of them was sent."""

    def read(self, work: Callable[[], _T]) -> _T:
        try:
            return super().read(work)
        except Failure as failure:
            failure.again = failure.again and isinstance(failure.__cause__, _NOTHING_SENT)
            raise


# ValueError: not JSON, or a member of a wrong type.
_FOREIGN = (*failures.FOREIGN, ValueError)
_OFTEN = _Often(_FOREIGN, unreadable)
_ONCE = _Once(_FOREIGN, unreadable)
