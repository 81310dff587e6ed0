"""Under which names the service answers; pure.

A foreign page may have its name resolved to this machine (DNS rebinding): for the browser it then is
of one origin with the service. Only the Host header tells.
"""

from __future__ import annotations

import re

from appbuilder.errors import ConfigurationError, Forbidden, InvalidRequest
from appbuilder.serve.auth.request_info import RequestInfo, address_of, host_name, is_loopback_host
from appbuilder.serve.server.address import is_loopback
from appbuilder.settings import Settings

ANY = frozenset({"*"})
_NAME = re.compile(r"[a-z0-9_.-]+")
PROBES = frozenset({"/health", "/ready"})
"""Answer whoever asks, by whatever name and with whatever credential; they tell nothing of anybody."""


def hosts_of(settings: Settings, host: str) -> frozenset[str]:
    """The names the service answers to besides loopback ones; :data:`ANY`: all.

    :param host: the address it listens on.
    :raises ConfigurationError: a name is not valid.
    """
    names = frozenset(each.strip("[]") for each in listed(settings.hosts.lower()))
    for name in names - ANY:
        if not _NAME.fullmatch(name) and address_of(name) is None:
            raise ConfigurationError(
                f"APPBUILDER_HOSTS takes host names without scheme and port, chat.example.com; not {name!r}."
            )
    if names & ANY:
        return ANY
    return names if names or is_loopback(host) else ANY


def check_host(request_info: RequestInfo, hosts: frozenset[str]) -> None:
    """:raises Forbidden: the service does not go by the name it was asked by.
    :raises InvalidRequest: it was asked by two names.
    """
    given = request_info.values("host")
    if len(given) > 1:
        raise InvalidRequest("A request has one Host header.")
    if hosts is ANY or request_info.path in PROBES:
        return
    host = given[0] if given else ""
    if not is_loopback_host(host) and host_name(host) not in hosts:
        raise Forbidden("The service does not answer to this host name; its setting `hosts` says to which.")


def listed(text: str) -> list[str]:
    """The parts of a setting that is joined by commas."""
    return [part for each in text.split(",") if (part := each.strip())]
