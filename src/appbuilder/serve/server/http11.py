"""HTTP/1.1 on uvicorn, where a request that asks for another protocol than a WebSocket's is served as it is.

uvicorn drops the body of such a request and takes what arrives of it later for requests of its own. Behind a
proxy that keeps connections those would be anybody's: the answers of later requests, under their keys, would
be to what another client wrote. A server may ignore an Upgrade (RFC 9110, section 7.8).
"""

from __future__ import annotations

from collections.abc import Iterable

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_UPGRADING = frozenset((b"upgrade", b"http2-settings"))
"""Headers of an upgrade, which `Connection` names as well."""

Header = tuple[bytes, bytes]


class Http11Protocol(HttpToolsProtocol):
    """One connection, whose only other protocol is that of WebSockets."""

    def data_received(self, data: bytes) -> None:
        """Reads on, as uvicorn does but for upgrades."""
        self._unset_keepalive_if_required()
        while data:
            data = self._feed(data)

    def _feed(self, data: bytes) -> bytes:
        """Reads *data*, and returns what is to be read again."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")
        except httptools.HttpParserUpgrade as end:
            if not self._should_upgrade():
                return self._without_upgrade(memoryview(data)[end.args[0] :])
            self.handle_websocket_upgrade()
        return b""

    def on_headers_complete(self) -> None:
        """Begins the request, unless it is one to be read again."""
        if not self._is_ignored():
            super().on_headers_complete()
        elif self.parser.get_method() == b"CONNECT":
            raise ValueError("a tunnel")  # for uvicorn a request that is not valid

    def on_message_complete(self) -> None:
        """Ends the request, unless it is one to be read again."""
        if not self._is_ignored():
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        """Whether this is the handshake of a WebSocket, which is a GET without a body (RFC 6455, 4.1)."""
        return (
            super()._should_upgrade()
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and not any(_declares_body(header) for header in self.headers)
        )

    def _is_ignored(self) -> bool:
        return bool(self.parser.should_upgrade()) and not self._should_upgrade()

    def _without_upgrade(self, rest: memoryview) -> bytes:
        """The request as if it asked for no upgrade, with what has come of its body and after it."""
        version = self.parser.get_http_version().encode()
        head = [b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, version)]
        head += [b"%b: %b\r\n" % header for header in _ordinary(self.headers)]
        # A parser that has seen an upgrade takes no body any more.
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's is
        return b"".join([*head, b"\r\n", rest])


def _declares_body(header: Header) -> bool:
    name, value = header
    return name == b"transfer-encoding" or (name == b"content-length" and value != b"0")


def _ordinary(headers: Iterable[Header]) -> Iterable[Header]:
    for name, value in headers:
        if name == b"connection":
            tokens = [token.strip() for token in value.split(b",")]
            kept = [token for token in tokens if token.lower() not in _UPGRADING]
            if kept:
                yield name, b", ".join(kept)
        elif name not in _UPGRADING:
            yield name, value
