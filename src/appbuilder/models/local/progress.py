"""What a person sees while a model is fetched and loaded: a bar on a terminal, lines in the log elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from appbuilder.logs import logger


class Progress:
    """Shows steps that follow each other; sizes are bytes."""

    def __init__(self) -> None:
        self._what = ""
        self._quarter = 0
        self._bar: Any = None
        self._task: Any = None

    def show(self, what: str, done: int, total: int) -> None:
        """*total* is 0 for a step whose length is not known."""
        new = what != self._what
        self._what = what
        if total and sys.stderr is not None and sys.stderr.isatty():
            self._draw(what, done, total, new)
        elif new:
            self._quarter = 0
            logger.info("%s%s", what, f" ({total / 1e6:,.0f} MB)" if total else "")
        elif total and done * 4 // total > self._quarter:
            self._quarter = done * 4 // total
            logger.info("%s: %d %%", what, self._quarter * 25)

    def close(self) -> None:
        """Leaves the terminal as it was; may be called more than once."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, what: str, done: int, total: int, new: bool) -> None:
        if self._bar is None:
            self._bar = _bar()
            self._bar.start()
            new = True
        if new:
            self._task = self._bar.add_task(what, total=total)
        self._bar.update(self._task, completed=done, refresh=True)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    # Without a thread of its own, which under gevent would be a greenlet drawing at odd times.
    return Bar(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), auto_refresh=False,
    )
