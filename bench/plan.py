"""How long and how often; `QUICK=1` is enough to see that everything works, not to compare."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds of one measurement, rounds of all contenders in turn, fresh processes, and sizes."""

    quick: bool
    seconds: float
    rounds: int
    few_rounds: int
    """Where one round takes long."""
    processes: int
    rows: int
    warm_up: float = 1.0
    connections: int = 32
    sessions: int = 256
    fast_streams: int = 64
    fast_pieces: int = 500
    slow_streams: int = 1000
    slow_pieces: int = 50
    slow_delay: float = 0.05
    open_streams: int = 500
    many_streams: int = 5000

    @classmethod
    def load(cls) -> Plan:
        """The plan of ``BENCH_QUICK``, ``BENCH_SECONDS`` and ``BENCH_ROUNDS``."""
        quick = os.environ.get("BENCH_QUICK", "") not in ("", "0")
        return cls(
            quick=quick,
            seconds=float(os.environ.get("BENCH_SECONDS") or (1 if quick else 3)),
            rounds=int(os.environ.get("BENCH_ROUNDS") or (1 if quick else 5)),
            few_rounds=1 if quick else 2,
            processes=3 if quick else 15,
            rows=100_000 if quick else 1_000_000,
            warm_up=0.5 if quick else 1.0,
        )
