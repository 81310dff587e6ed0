"""Judges a service by the times of its answers; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from appbuilder.cli.local_checks import Check, ms

_FIRST_PIECE = "appbuilder_first_piece_seconds"
_QUICK = 0.5
"""Seconds; a shorter answer does not show whether something buffers."""
_TOGETHER = 0.02
"""Seconds within which chunks count as one arrival."""
_JITTER = 0.1
"""Seconds by which events in order may arrive out of order."""


@dataclass(slots=True)
class TurnTimes:
    """One streamed turn, measured by its client.

    :param began: the start, on the client's clock; the other times are seconds since then.
    :param marks: (seconds, chunks) of each arrival.
    """

    session_id: str
    began: float
    marks: list[tuple[float, int]] = field(default_factory=list)
    ended: float = 0.0

    def note(self, at: float) -> None:
        """Records a chunk; chunks that arrive together count as one arrival."""
        if self.marks and at - self.marks[-1][0] < _TOGETHER:
            self.marks[-1] = (self.marks[-1][0], self.marks[-1][1] + 1)
        else:
            self.marks.append((at, 1))

    @property
    def pieces(self) -> int:
        return sum(count for _, count in self.marks)

    @property
    def span(self) -> tuple[float, float]:
        """First chunk to last event, on the client's clock: the time in which the turn held its session."""
        first = self.marks[0][0] if self.marks else self.ended
        return self.began + first, self.began + self.ended


def judge_stream(turn: TurnTimes, said_first: float | None) -> Check:
    """Whether chunks arrive as they are produced.

    :param said_first: seconds to the first chunk by the service's own metrics; None: unknown.
    """
    if not turn.pieces:
        return Check("stream", None, "The answer was empty. Try another --message.")
    first, last = turn.marks[0][0], turn.marks[-1][0]
    arrivals = f"{turn.pieces} chunks in {len(turn.marks)} arrivals"
    heard = f"{arrivals}, the first after {ms(first)}, the last after {ms(last)}"
    if said_first is not None and first - said_first > max(_QUICK, said_first):
        return Check(
            "stream", False, f"A proxy buffers the stream: {heard}, but the service sent the first "
            f"after {ms(said_first)}. In nginx: proxy_buffering off."
        )
    if len(turn.marks) > 1:
        return Check("stream", True, f"Chunks arrive as they are produced: {heard}.")
    if turn.ended < _QUICK or turn.pieces == 1 or said_first is not None:
        return Check(
            "stream", None, f"All chunks arrived at once, probably as they were produced: {heard}. "
            "Try a --message with a longer answer."
        )
    return Check(
        "stream", None, f"All chunks arrived at once: {heard}. Either the component sends them so, or a "
        "proxy buffers. With access to /metrics this check could decide."
    )


def judge_order(turns: Sequence[TurnTimes], workers: int, most_running: int) -> Check:
    """Whether the turns of one session ran one after the other.

    :param workers: number of workers seen with one of the turns.
    :param most_running: most of the turns that a worker listed as running at the same time.
    """
    name = "one turn at a time"
    spans = sorted(turn.span for turn in turns)
    together = max((earlier[1] - later[0] for earlier, later in pairwise(spans)), default=0.0)
    if together > _JITTER or most_running > 1:
        return Check(
            name, False, "Turns of one session ran at the same time. All workers must use the same database; "
            "SQLite needs a file system with locks."
        )
    seen = f"{workers} workers" if workers > 1 else "one worker" if workers else "unknown workers"
    return Check(name, True, f"{len(turns)} concurrent turns of one session ran one by one in {seen}.")


def first_pieces(metrics: str) -> tuple[float, int]:
    """Sum and count of the times to the first chunk in the service's metrics."""
    total, count = (
        sum(map(float, re.findall(rf"^{_FIRST_PIECE}_{each}(?:{{.*}})? (\S+)$", metrics, re.MULTILINE)))
        for each in ("sum", "count")
    )
    return total, round(count)
