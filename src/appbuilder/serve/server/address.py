"""Where a server listens: one sentence when it cannot, one line when it does."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from typing import TYPE_CHECKING

from appbuilder.errors import ConfigurationError
from appbuilder.logs import logger

if TYPE_CHECKING:
    from flask import Flask

BACKLOG = 4096
_EVERYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104 - compared, not bound


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    :param host: a name or an address of this machine; empty: all addresses.
    :param port: 0: any free one.
    :raises ConfigurationError: it cannot be listened on; the sentence says why and what to do.
    """
    family, address = _resolve(host, port)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere this would take a port that another program listens on
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by the connections: an event leaves at once, not with the next one.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(_why(error, host, port)) from None
    return listener


def _resolve(host: str, port: int) -> tuple[int, tuple[object, ...]]:
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise ConfigurationError(f"The port must be a whole number from 0 to 65535; it is {port!r}.")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ConfigurationError(f"The host {host!r} is not known; use 127.0.0.1 or 0.0.0.0.") from None
    # localhost is both; clients that try only one try this one.
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, address


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use by another program; stop that one or choose another port."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"The host {host!r} is not an address of this machine; use 127.0.0.1 or 0.0.0.0."
    if error.errno == errno.EACCES:
        return f"Port {port} needs rights this process does not have; choose one above 1023."
    return f"Cannot listen on {host}:{port}: {error.strerror}."


def announce(app: Flask, host: str, port: int) -> None:
    """One log line: the address, and how to try it; before it a warning, if others can reach the address."""
    warn_if_open(host)
    rule = next((rule.rule for rule in app.url_map.iter_rules() if rule.endpoint == "chat"), "/")
    logger.info(
        "serving on %s, try: curl %s -H 'Content-Type: application/json' -d '{\"message\": \"hello\"}'",
        shown_url(host or "0.0.0.0", port),  # noqa: S104 - shown
        shown_url(reachable(host), port) + rule,
    )


def warn_if_open(host: str) -> None:
    """Logs a warning where others than this machine can reach a server that asks for no credential."""
    if not is_loopback(host):
        logger.warning(
            "others can reach this service on %s without a credential: host='127.0.0.1' serves this machine "
            "alone, `appbuilder serve --auth keys` serves known callers",
            host or "all addresses",
        )


def shown_url(host: str, port: int) -> str:
    """The address as a person would type it."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def reachable(host: str) -> str:
    """A host under which this machine reaches what listens on *host*."""
    return "127.0.0.1" if host in _EVERYWHERE else host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach *host*."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
