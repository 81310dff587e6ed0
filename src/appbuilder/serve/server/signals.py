"""Ctrl-C and SIGTERM for servers that run in threads while the main thread waits."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Interrupts:
    """Ctrl-C is KeyboardInterrupt, and is noted: what is raised inside a weakref's callback or a finalizer is
    dropped by Python, and so would be the user's wish."""

    def __init__(self) -> None:
        self._noted = False

    def __call__(self, *_: object) -> None:
        """Ctrl-C came."""
        self._noted = True
        raise KeyboardInterrupt

    def look(self) -> None:
        """:raises KeyboardInterrupt: Ctrl-C came before."""
        if self._noted:
            raise KeyboardInterrupt


@contextlib.contextmanager
def interrupts() -> Iterator[Interrupts]:
    """While it lasts Ctrl-C is noted."""
    noted = Interrupts()
    before = signal.signal(signal.SIGINT, noted)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)


class Terminated:
    """Whether SIGTERM came, and a way to wait for it."""

    def __init__(self) -> None:
        self.by_signal = False
        self._is_fatal = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        self._event = threading.Event()

    @property
    def ends_process(self) -> bool:
        """Whether SIGTERM came, and will end the process as soon as ``signals`` does: without ``atexit``."""
        return self.by_signal and self._is_fatal

    def set(self, *_: object) -> None:
        """SIGTERM came."""
        self.by_signal = True
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """Waits that long; True if SIGTERM came.

        :raises KeyboardInterrupt: Ctrl-C came first.
        """
        return self._event.wait(seconds)

    def wait_for_end(self) -> None:
        """Waits for SIGTERM.

        :raises KeyboardInterrupt: Ctrl-C came first.
        """
        # In slices: on Windows a wait without end cannot be interrupted.
        while not self.wait(0.5):
            pass


@contextlib.contextmanager
def signals() -> Iterator[Terminated]:
    """While it lasts Ctrl-C is KeyboardInterrupt and SIGTERM is noted; afterwards both do what they did.

    :raises KeyboardInterrupt: :func:`interrupts` has noted one before.
    """
    terminated = Terminated()
    before = {
        # asyncio's own would cancel the task that called us, which only helps once we have returned
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, terminated.set),
    }
    try:
        if isinstance(earlier := before[signal.SIGINT], Interrupts):
            earlier.look()
        yield terminated
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        if terminated.by_signal:
            signal.raise_signal(signal.SIGTERM)


@contextlib.contextmanager
def at_sigterm(do: Callable[[], object]) -> Iterator[bool]:
    """While it lasts SIGTERM calls *do*, and then whatever it called before; for servers of others.

    Yields whether it can: only the main thread may set what a signal does. A server that receives signals
    by a file descriptor, as event loops are, still is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    before = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: Any) -> None:
        do()
        if callable(before):
            before(number, frame)
        elif before is signal.SIG_DFL:
            signal.signal(number, before)
            signal.raise_signal(number)

    signal.signal(signal.SIGTERM, handle)
    try:
        yield True
    finally:
        if signal.getsignal(signal.SIGTERM) is handle:  # the server may have set its own meanwhile
            signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
