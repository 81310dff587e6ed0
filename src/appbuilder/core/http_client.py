"""What ``Component.http_client`` is: addresses and headers for programs that call the gateway themselves.

``session`` is a ``requests.Session``, as in the AppBuilder SDK, so that such programs run unchanged. It
connects when it is used, not before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from appbuilder.core.credentials import gateway_headers, with_scheme
from appbuilder.fork_safe import ForkSafe
from appbuilder.settings import Settings

if TYPE_CHECKING:
    import requests

_PREFIX = "/rpc/2.0/cloud_hub"


class HttpClient:
    """Addresses, headers and a session for calls to the AppBuilder gateway.

    :param credential: called for each header; returns the token valid for the current request.
    :param gateway: the gateway's address; default ``GATEWAY_URL``.
    """

    def __init__(self, credential: Callable[[], str], gateway: str = "") -> None:
        self._credential = credential
        self.gateway = with_scheme(gateway or Settings.load().gateway_url)
        self._session: ForkSafe[requests.Session] = ForkSafe(_new_session)

    @property
    def session(self) -> requests.Session:
        """The session, made at first use and again after a fork. It serves all users: no cookies."""
        return self._session.get()

    def auth_header(self, request_id: str | None = None) -> dict[str, str]:
        """The headers of a call, with the current request's credential.

        :raises Unauthenticated: the component certifies lazily and the request brought no credential.
        :raises ConfigurationError: there is no credential anywhere.
        """
        return gateway_headers(self._credential(), request_id)

    def service_url(self, sub_path: str, prefix: str | None = None) -> str:
        """The address of a service: gateway, prefix (default ``/rpc/2.0/cloud_hub``), *sub_path*."""
        return f"{self.gateway}{prefix or _PREFIX}{sub_path}"


def _new_session() -> requests.Session:
    from http.cookiejar import DefaultCookiePolicy

    import requests

    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    return session
