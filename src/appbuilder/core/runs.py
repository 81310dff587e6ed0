"""The protocol of the run registry: which runs are live, in all processes of a service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run under way. ``started_at`` is UTC without a zone.

    :param owner: who asked; None: unknown.
    :param state: ``waiting`` (for its session), ``running`` or ``stopping``.
    :param worker: the process it runs in, as ``host:pid``.
    :param pieces: how many of its answer are there; None: it runs in another process.
    """

    id: str
    session_id: str
    request_id: str
    owner: str | None
    started_at: datetime
    state: str
    worker: str
    pieces: int | None = None


class LocalRuns(Protocol):
    """The runs of this process, as the register needs them."""

    def runs(self) -> Sequence[LiveRun]:
        """Those under way now."""

    def stop_run(self, run_id: str) -> bool:
        """Stops one; False: it is not here, or has ended."""


class RunRegistry(Protocol):
    """Runs of all processes on one database: this one's as they are, others' as of a second ago.

    :raises StoreUnavailable: (``runs``, ``stop``) the database did not answer in time or refused.
    """

    def start(self, local: Callable[[], LocalRuns]) -> None:
        """Begins to tell the others of this process's runs, and to stop those the others want stopped."""

    def runs(self, owners: Sequence[str | None] | None) -> Sequence[LiveRun]:
        """Runs of these owners (None: all), the oldest first."""

    def stop(self, run_id: str) -> bool:
        """Stops a run wherever it is; False: there is no such run any more."""

    def close(self) -> None:
        """Takes this process's runs out of the register."""
