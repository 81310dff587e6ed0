"""A transport whose writes leave together.

An answer is at least two writes, its head and its body, and each would be a system call: in a small answer
these are more than half the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

_LARGE = 16 * 1024
"""Bytes that do not wait for others."""


class WriteCoalescer:
    """Passes on to *transport* what was written in one turn of *loop* as one write, at its end.

    :param end: closes *transport* where something was written just before.
    """

    __slots__ = ("_end", "_ended", "_loop", "_transport", "_waiting")

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        end: Callable[[asyncio.Transport], None],
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._end = end
        self._ended = False
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Writes *data* at the end of the loop's turn."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(data)
        if len(data) > _LARGE:
            self.flush()  # so that the writer is asked to pause before the next

    def flush(self) -> None:
        """Writes what waits."""
        waiting, self._waiting = self._waiting, []
        if waiting and not (self._ended or self._transport.is_closing()):
            self._transport.write(waiting[0] if len(waiting) == 1 else b"".join(waiting))

    def close(self) -> None:
        """Closes when what was written has left; called again, without what *end* may wait for."""
        if not self._waiting or self.is_closing():
            self._transport.close()
            return
        self.flush()
        self._ended = True
        self._end(self._transport)

    def is_closing(self) -> bool:
        """Whether nothing can be written any more."""
        return self._ended or self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        """Bytes that were written and have not left."""
        return self._transport.get_write_buffer_size() + sum(map(len, self._waiting))

    def set_protocol(self, protocol: Any) -> None:
        """Another protocol takes over; what was written before stays before."""
        self.flush()
        self._transport.set_protocol(protocol)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
