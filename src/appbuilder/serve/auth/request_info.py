"""Who is asking: what a request says of it, and what the service makes of that."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from starlette.requests import cookie_parser

from appbuilder.core.conversations import Owner
from appbuilder.errors import Unauthenticated

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ANONYMOUS = "anonymous"
"""Owner of what programs begin that is unknown, where these are let in."""
VISITOR_PREFIX = "visitor:"
"""Begins the owner of what a browser begins that is known by its cookie and by nothing else."""

ASKING = "appbuilder.asking"
"""Where it stands in the scope what :func:`read_request_info` gives."""

KEY_PREFIX = "ab_"
_BEARER = re.compile(r"bearer(?:[ \t]+(.*))?", re.IGNORECASE | re.DOTALL)
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
_LONGEST_CREDENTIAL = 16 * 1024
_LONGEST_NAME = 256

_LONGEST_KEPT = 64
"""Characters of what is remembered as looked at: a client may send long ones, and many."""

_FORWARDED = re.compile(
    r"forwarded|x-forwarded.*|via|(.*-)?client-ip|.*-connecting-ip|x-real-ip|x-original-.*"
)

_TELLS_SCHEME = (b"x-forwarded-proto", b"forwarded")
_FORWARDED_SCHEME = re.compile(rb"""(?:^|;)\s*proto="?([a-z]+)""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller of the service.

    :param name: what is shown, and what the component sees.
    :param owner: whose conversations these are; tells users, visitors and the local user apart.
    :param sees_all_others: True: also conversations that no one began on a page.
    :param cookie: a cookie value to be set, where this one is new.
    :param login: the id of the login on the page, where the request came with the cookie of one.
    :param peer: the address of a caller without a credential: any number of visitors may share one.
    """

    name: str
    owner: str
    sees_all_others: bool = False
    cookie: str = ""
    peer: str = ""
    login: str = field(default="", compare=False, repr=False)

    @property
    def owners(self) -> tuple[Owner, ...]:
        """Whose conversations this one sees."""
        return (self.owner, None) if self.sees_all_others else (self.owner,)

    @property
    def is_visitor(self) -> bool:
        """Whether this one is known by a cookie that everybody gets who asks."""
        return self.owner.startswith(VISITOR_PREFIX)


@dataclass(frozen=True, slots=True)
class Credential:
    """A key or token that a request brings."""

    text: str = field(repr=False)

    @property
    def is_key(self) -> bool:
        """Whether it has the form of an API key."""
        return self.text.startswith(KEY_PREFIX)

    @property
    def is_token(self) -> bool:
        """Whether it has the form of a JSON Web Token."""
        return _TOKEN.fullmatch(self.text) is not None


@dataclass(frozen=True)
class RequestInfo:
    """What is known of a request. ``headers`` are in the order they came, names in lower case."""

    peer: str
    headers: Sequence[tuple[str, str]]
    cookies: Mapping[str, str]
    method: str = "GET"
    path: str = "/"

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for each, value in self.headers if each == name]

    @cached_property
    def credential(self) -> Credential | None:
        """What stands in ``Authorization: Bearer`` or ``X-Api-Key``; None: nothing does.

        Other schemes of Authorization are left alone: they may be for a proxy in front.

        :raises Unauthenticated: there is more than one, or it is empty or too long.
        """
        given = [
            (found[1] or "").strip()
            for value in self.values("authorization")
            if (found := _BEARER.fullmatch(value.strip()))
        ]
        given += [value.strip() for value in self.values("x-api-key")]
        if not given:
            return None
        if len(given) > 1:
            raise Unauthenticated("Send one credential, in one header.")
        if not 0 < len(given[0]) <= _LONGEST_CREDENTIAL:
            raise Unauthenticated("The credential is empty or too long.")
        return Credential(given[0])

    @property
    def language(self) -> str:
        """The browser's first language, ``en`` if it says none."""
        accepted = self.values("accept-language")
        found = re.match(r"\s*([A-Za-z0-9-]+)", accepted[0]) if accepted else None
        return found[1] if found else "en"

    @cached_property
    def is_local(self) -> bool:
        """Whether a program or browser on this machine asks, and asks this machine.

        The peer alone is not enough: a proxy on this machine connects from here for others, and a page of
        another site may have its name resolved to this machine.
        """
        hosts = self.values("host")
        return (
            _is_loopback_peer(self.peer)
            and len(hosts) == 1
            and is_loopback_host(hosts[0])
            and not any(map(_forwards, [name for name, _ in self.headers]))
        )


def read_request_info(scope: Scope) -> RequestInfo:
    """What *scope* says of who is asking; read once for a request."""
    found: RequestInfo | None = scope.get(ASKING)
    if found is None:
        found = scope[ASKING] = _read(scope)
    return found


def _read(scope: Scope) -> RequestInfo:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    client = scope.get("client")
    cookies: dict[str, str] = {}
    for name, value in headers:
        if name == "cookie":
            # Not http.cookies, which drops all of them where one, of another program on this host, is odd.
            cookies.update(cookie_parser(value))
    peer = client[0] if client else ""
    return RequestInfo(peer, headers, cookies, scope.get("method", "GET"), scope.get("path", "/"))


def over_https(scope: Scope) -> bool:
    """Whether the client speaks https, with this server or with the first of the proxies between them.

    Proxies add to ``X-Forwarded-Proto`` and ``Forwarded`` (RFC 7239) what the one before them spoke, so the
    first value is the client's.
    """
    if scope["scheme"] in {"https", "wss"}:
        return True
    values = {name: value for name, value in reversed(scope["headers"]) if name in _TELLS_SCHEME}
    first = values.get(b"x-forwarded-proto", b"").partition(b",")[0].strip().lower()
    if not first and (found := _FORWARDED_SCHEME.search(values.get(b"forwarded", b"").partition(b",")[0])):
        first = found[1].lower()
    return first in {b"https", b"wss"}


def is_loopback_host(host: str) -> bool:
    """Whether a Host header means the machine itself."""
    return _means_loopback(host) if len(host) <= _LONGEST_KEPT else is_loopback_name(host_name(host))


def _forwards(name: str) -> bool:
    """Whether a proxy adds a header of this name."""
    return _is_forwarding(name) if len(name) <= _LONGEST_KEPT else _FORWARDED.fullmatch(name) is not None


# Every request asks these, and nearly all ask the same.


@lru_cache(4096)
def _is_loopback_peer(peer: str) -> bool:
    address = address_of(peer)
    return address is not None and address.is_loopback


@lru_cache(1024)
def _means_loopback(host: str) -> bool:
    return is_loopback_name(host_name(host))


@lru_cache(1024)
def _is_forwarding(name: str) -> bool:
    return _FORWARDED.fullmatch(name) is not None


def host_name(host: str) -> str:
    """The name or address in a Host header, without the port and the brackets."""
    found = re.fullmatch(r"(?:\[([^]]*)\]|([^:]*))(?::[0-9]*)?", host.strip().lower())
    return (found[1] or found[2] or "") if found else ""


def is_loopback_name(name: str) -> bool:
    """Whether a host name or address means the machine itself."""
    address = address_of(name)
    return name == "localhost" or (address is not None and address.is_loopback)


def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address, an IPv4 one also where it is wrapped into IPv6; None: it is not one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def utf8(value: str) -> str:
    """A header's value, which arrives as Latin-1, as the UTF-8 it was sent as."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return ""


def user_name(value: object) -> str | None:
    """*value* if it can be a user's name: printable text of at most 256 characters."""
    fits = isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()
    return value if fits and isinstance(value, str) and value.strip() else None
