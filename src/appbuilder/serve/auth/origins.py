"""Which sites' pages may speak to the service, and what they are allowed; pure.

Cookies count for our own pages only, so no answer allows other origins to send credentials: their pages bring
a key or a token of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from appbuilder.errors import ConfigurationError, Forbidden
from appbuilder.serve.auth.hosts import check_host, hosts_of, listed
from appbuilder.serve.auth.request_info import RequestInfo, Scope
from appbuilder.settings import Settings

Headers = list[tuple[bytes, bytes]]

SAFE = frozenset({"GET", "HEAD"})
EXPOSED = b"X-Appbuilder-Request-Id, X-Appbuilder-Session-Id, X-Request-Id, Retry-After"
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_PREFLIGHT_KEPT = b"600"
_OWN_SITE = frozenset({"same-origin", "none"})
_EVERYBODY = frozenset({"*", "null"})
"""Any site's page can have the origin null: in a frame with a sandbox."""
_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^/?#@,\s]+")
_DEFAULT_PORT = re.compile(r"^(http://.*):80$|^(https://.*):443$")
_HEADER_NAMES = re.compile(r"[\w!#$%&'*+.^`|~-]+(\s*,\s*[\w!#$%&'*+.^`|~-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class OriginPolicy:
    """Which hosts and origins are let in.

    :param hosts: see :func:`appbuilder.serve.auth.hosts.hosts_of`.
    :param origins: of pages that may use the API, besides the service's own.
    :param any_origin: pages of all origins may.
    """

    hosts: frozenset[str]
    origins: frozenset[str] = frozenset()
    any_origin: bool = False

    @classmethod
    def of(cls, settings: Settings, host: str) -> OriginPolicy:
        """The rules of a service.

        :param host: the address it listens on.
        :raises ConfigurationError: a name or an origin is not valid; or every page is allowed without
            authentication
            say who he is.
        """
        given = listed(settings.cors_origins.lower())
        origins = {_DEFAULT_PORT.sub(r"\1\2", each.rstrip("/")) for each in given} - {"*"}
        if _EVERYBODY & {*given} and not settings.auth:
            raise ConfigurationError(
                "APPBUILDER_CORS_ORIGINS=* or null without authentication would let every site its reader "
                "visits speak in his name: name the origins, or set APPBUILDER_AUTH."
            )
        for each in origins:
            if not _ORIGIN.fullmatch(each):
                raise ConfigurationError(
                    f"APPBUILDER_CORS_ORIGINS takes origins, https://app.example.com; not {each!r}."
                )
        return cls(hosts_of(settings, host), frozenset(origins), "*" in given)


def check_request(request_info: RequestInfo, scope: Scope, origin_policy: OriginPolicy) -> None:
    """Whether the service may be asked this way at all.

    :raises Forbidden: it does not go by this name, or another site's page asks for what may change something.
    :raises InvalidRequest: two hosts are named.
    """
    check_host(request_info, origin_policy.hosts)
    may_change = scope["type"] == "websocket" or request_info.method not in SAFE
    if may_change and is_cross_site(request_info) and not _is_allowed(request_info, origin_policy):
        raise Forbidden("This request comes from another site's page.")


def is_cross_site(request_info: RequestInfo) -> bool:
    """Whether a browser says that another site's page asks. Programs that are no browsers say nothing."""
    origins = request_info.values("origin")
    if origins:
        hosts = request_info.values("host")
        if len(origins) != 1 or len(hosts) != 1 or not hosts[0]:
            return True
        # The scheme is left out: a proxy in front may speak https where we do not.
        if origins[0].partition("://")[2] != hosts[0]:
            return True
    return any(site not in _OWN_SITE for site in request_info.values("sec-fetch-site"))


def cookies_allowed(request_info: RequestInfo) -> bool:
    """Whether a cookie may identify the caller: the request comes from the own page or a link to it."""
    if not is_cross_site(request_info):
        return True
    return (
        request_info.method in SAFE
        and not request_info.values("origin")
        and request_info.values("sec-fetch-mode") == ["navigate"]
        and request_info.values("sec-fetch-dest") == ["document"]
    )


def cors_headers(request_info: RequestInfo, origin_policy: OriginPolicy) -> Headers:
    """What every answer says to other origins' pages; empty where none may come."""
    if origin_policy.any_origin:
        return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", EXPOSED)]
    if not origin_policy.origins:
        return []
    vary = (b"vary", b"Origin")
    if not _is_allowed(request_info, origin_policy):
        return [vary]
    origin = request_info.values("origin")[0].encode("latin-1")
    return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED), vary]


def preflight(request_info: RequestInfo, scope: Scope, origin_policy: OriginPolicy) -> Headers | None:
    """The further headers of the answer to a browser that asks what another origin's page may do.

    None: this is no such question, or the page may nothing.
    """
    if (
        scope["type"] != "http"
        or request_info.method != "OPTIONS"
        or not _is_allowed(request_info, origin_policy)
    ):
        return None
    if not request_info.values("access-control-request-method"):
        return None
    headers = [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-max-age", _PREFLIGHT_KEPT),
        (b"vary", b"Access-Control-Request-Headers"),
    ]
    wanted = request_info.values("access-control-request-headers")
    if len(wanted) == 1 and _HEADER_NAMES.fullmatch(wanted[0]):
        # Each by its name: a star would leave out Authorization.
        headers.append((b"access-control-allow-headers", wanted[0].encode("latin-1")))
    return headers


def _is_allowed(request_info: RequestInfo, origin_policy: OriginPolicy) -> bool:
    origins = request_info.values("origin")
    return len(origins) == 1 and (origin_policy.any_origin or origins[0] in origin_policy.origins)
