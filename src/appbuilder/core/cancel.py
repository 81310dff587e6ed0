"""Cancellation: how a turn's work learns that its result is no longer wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable

from appbuilder.cooperation import before_blocking
from appbuilder.errors import TurnCancelled
from appbuilder.logs import logger


class CancelToken:
    """Set once, from any thread. What blocks on a connection registers how to break it off.

    A component that computes for long may ask ``get_context().cancel_token.cancelled`` between its steps.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self.cancelled = False

    def cancel(self) -> None:
        """Sets the token and runs the callbacks, each once, in the caller's thread."""
        with self._lock:
            self.cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:  # noqa: BLE001 - a connection already gone must not keep the others open
                logger.debug("a cancel callback failed", exc_info=True)

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Registers *callback*; runs it at once if the token is set. Returns how to take it back."""
        with self._lock:
            if not self.cancelled:
                self._callbacks.append(callback)
                return lambda: self._forget(callback)
        callback()
        return lambda: None

    def sleep(self, seconds: float) -> None:
        """Sleeps, but no longer than until the token is set."""
        before_blocking()
        woken = threading.Event()
        forget = self.on_cancel(woken.set)
        woken.wait(seconds)
        forget()

    def raise_if_cancelled(self) -> None:
        """:raises TurnCancelled: the token is set."""
        if self.cancelled:
            raise TurnCancelled("The turn was stopped.")

    def _forget(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)
