"""What the times of a service's answers say of it; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from appbuilder.cli.local_checks import Check, ms

_FIRST_PIECE = "appbuilder_first_piece_seconds"
_QUICK = 0.5
"""Seconds under which an answer says nothing about buffering."""
_TOGETHER = 0.02
"""Seconds within which pieces came together."""
_JITTER = 0.1
"""Seconds by which what left one after the other may arrive the other way round."""


@dataclass(slots=True)
class TurnTimes:
    """One streamed turn as its client saw it.

    :param began: when it was asked, on the client's clock; the other times are seconds since.
    :param marks: (seconds, pieces) of each arrival.
    """

    session_id: str
    began: float
    marks: list[tuple[float, int]] = field(default_factory=list)
    ended: float = 0.0

    def note(self, at: float) -> None:
        """A piece came; those that came together are one arrival, in however many reads."""
        if self.marks and at - self.marks[-1][0] < _TOGETHER:
            self.marks[-1] = (self.marks[-1][0], self.marks[-1][1] + 1)
        else:
            self.marks.append((at, 1))

    @property
    def pieces(self) -> int:
        return sum(count for _, count in self.marks)

    @property
    def span(self) -> tuple[float, float]:
        """From its first piece to its last event, on the client's clock: then the session was its own."""
        first = self.marks[0][0] if self.marks else self.ended
        return self.began + first, self.began + self.ended


def judge_stream(turn: TurnTimes, said_first: float | None) -> Check:
    """Whether pieces come as they are said.

    :param said_first: seconds after which the service had its first piece, by its own count; None: unknown.
    """
    if not turn.pieces:
        return Check("stream", None, "The answer was empty; ask something else (--message).")
    first, last = turn.marks[0][0], turn.marks[-1][0]
    arrivals = f"{turn.pieces} pieces in {len(turn.marks)} arrivals"
    heard = f"{arrivals}, the first after {ms(first)}, the last after {ms(last)}"
    if said_first is not None and first - said_first > max(_QUICK, said_first):
        return Check(
            "stream", False, f"Something on the way buffers: {heard}, but the service had the first "
            f"after {ms(said_first)}. In nginx: proxy_buffering off."
        )
    if len(turn.marks) > 1:
        return Check("stream", True, f"Pieces come as they are said: {heard}.")
    if turn.ended < _QUICK or turn.pieces == 1 or said_first is not None:
        return Check(
            "stream", None, f"All came at once, as far as can be told as it was said: {heard}. "
            "A longer answer tells more (--message)."
        )
    return Check(
        "stream", None, f"All came at once: {heard}. Either the component says it so, or something on the "
        "way buffers; /metrics would tell, where it can be read."
    )


def judge_order(turns: Sequence[TurnTimes], workers: int, most_running: int) -> Check:
    """Whether the turns of one session ran one after the other.

    :param workers: how many were seen to have one.
    :param most_running: of how many at a time one worker said that they run.
    """
    name = "one turn at a time"
    spans = sorted(turn.span for turn in turns)
    together = max((earlier[1] - later[0] for earlier, later in pairwise(spans)), default=0.0)
    if together > _JITTER or most_running > 1:
        return Check(
            name, False, "Turns of one session ran at the same time: all workers must use one database, "
            "on a file system that can lock where it is SQLite."
        )
    seen = f"{workers} workers" if workers > 1 else "one worker" if workers else "workers that cannot be seen"
    return Check(name, True, f"{len(turns)} turns of one session, asked at once, ran one by one in {seen}.")


def first_pieces(metrics: str) -> tuple[float, int]:
    """Sum and count of the service's times to the first piece, in its metrics."""
    total, count = (
        sum(map(float, re.findall(rf"^{_FIRST_PIECE}_{each}(?:{{.*}})? (\S+)$", metrics, re.MULTILINE)))
        for each in ("sum", "count")
    )
    return total, round(count)
