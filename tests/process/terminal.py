"""The command line at a terminal: a pseudo-terminal, and what is on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

PROGRAM = [sys.executable, "-c", "from appbuilder.cli.main import main; main()"]
COLUMNS = 80
PROMPT = "\x1b[?2004h"
"""Bracketed paste is on: a line can be typed."""
ENTERED = "\x1b[?2004l"
"""It is off: the line was entered."""


class Terminal:
    """A program with a terminal of its own. As a context manager it is killed at the end."""

    def __init__(self, arguments: Sequence[str], folder: Path, **environ: str) -> None:
        self.shown = ""
        self._seen = 0
        command = [*PROGRAM, *arguments]
        env = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **environ}
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            with contextlib.suppress(OSError):
                os.chdir(folder)
                os.execve(command[0], command, env)
            os._exit(127)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        os.close(self._terminal)

    def type(self, keys: str) -> None:
        """As a person would."""
        os.write(self._terminal, keys.encode())

    def say(self, line: str) -> str:
        """Types a line and Enter; what was shown until the next prompt."""
        self.type(line + "\r")
        self.wait_for(ENTERED)
        return self.wait_for(PROMPT).removesuffix(PROMPT)

    def wait_for(self, text: str, timeout: float = 60.0) -> str:
        """What was shown since the last call, up to and with *text*.

        :raises AssertionError: it was not shown in time.
        """
        deadline = time.monotonic() + timeout
        while (at := self.shown.find(text, self._seen)) < 0:
            more = self._read(deadline - time.monotonic())
            assert more, f"{text!r} was not shown:\n{self.shown[self._seen:]!r}"
        before, self._seen = self._seen, at + len(text)
        return self.shown[before : self._seen]

    def wait_end(self, timeout: float = 30.0) -> int:
        """Reads until the program has ended; its exit status."""
        deadline = time.monotonic() + timeout
        while self._read(deadline - time.monotonic()):
            assert time.monotonic() < deadline, self.shown
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def _read(self, timeout: float) -> bool:
        """False: nothing came, and nothing will."""
        ready, _, _ = select.select([self._terminal], [], [], max(0.0, timeout))
        try:
            data = os.read(self._terminal, 65536) if ready else b""
        except OSError:  # the other end is closed
            return False
        self.shown += data.decode("utf-8", "replace")
        return bool(data)
