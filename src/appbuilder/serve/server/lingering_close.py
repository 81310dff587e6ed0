"""The end of a connection whose client has been answered while it still sends.

Closing while bytes lie unread makes the kernel send a reset, which takes the answer away from the client
(RFC 9112, section 9.6): it would see a broken connection, and send all of it again.
"""

from __future__ import annotations

import asyncio

LINGER = 2.0
"""Seconds a client has to read its answer and to leave."""
MOST_DROPPED = 64 * 1024 * 1024
"""Bytes that are read meanwhile; more of them, and the connection is cut."""


class LingeringClose(asyncio.Protocol):
    """Takes *transport* over from *connection*: says that all is said, and drops what still comes."""

    def __init__(
        self, connection: asyncio.Protocol, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._connection = connection
        self._transport = transport
        self._left = MOST_DROPPED
        transport.set_protocol(self)
        transport.write_eof()
        self._timer = loop.call_later(LINGER, transport.close)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._connection.connection_lost(exc)
