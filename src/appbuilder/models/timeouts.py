"""How long a model server may take to the next thing worth waiting for.

A read that returns is no progress: a server that sends comments, empty pieces or a byte a second is as silent
as one that sends nothing. So the time counts from the request (tries again included) to the first piece, and
from piece to piece, whatever arrives between them.
"""

from __future__ import annotations

from appbuilder import clock

LAST_WORDS = 5.0
"""Seconds for what may follow an answer that is complete: its usage, the end of its body."""


class Patience(float):
    """Seconds; a float, so that it passes through the HTTP client as the time-out of its reads.

    It counts while the server is waited for, not while a piece is being used.
    """

    __slots__ = ("_left", "_until", "progressed")

    _left: float
    _until: float | None
    progressed: bool
    """Whether anything worth waiting for came since this was last set to False."""

    def __new__(cls, seconds: float) -> Patience:
        self = super().__new__(cls, seconds)
        self._left = float(seconds)
        self._until = None
        self.progressed = False
        return self

    def left(self) -> float:
        """Seconds left; the first call begins to count."""
        if self._until is None:
            self._until = clock.monotonic() + self._left
        return self._until - clock.monotonic()

    def renew(self) -> None:
        """Something worth waiting for came."""
        self.progressed = True
        self._left = self
        self._until = None

    def pause(self) -> None:
        """The server is not waited for until the next call of :meth:`left`."""
        if self._until is not None:
            self._left = self._until - clock.monotonic()
            self._until = None

    def shorten(self, seconds: float) -> None:
        """No more than *seconds* from now on."""
        self._left = min(self.left(), seconds)
        self._until = None
