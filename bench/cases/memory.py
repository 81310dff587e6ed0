"""Resident memory: of an idle server, and what each open stream adds."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from statistics import median

from bench import contenders, servers
from bench.cases import rates
from bench.cases.tokens import stream_requests
from bench.client import Held
from bench.plan import Plan
from bench.report import Table

PAGE = os.sysconf("SC_PAGE_SIZE")


def run(plan: Plan) -> Table:
    """The process that serves (a worker, where there is one), before and while streams are open."""
    requests = stream_requests(plan.open_streams, 1000, 1.0)

    def measure(server: servers.Server) -> tuple[int, int]:
        idle = resident(server.pid)
        with contextlib.closing(Held(server.port, requests.__getitem__, plan.open_streams)):
            return idle, resident(server.pid)

    rounds = min(3, plan.rounds)
    sizes = rates.in_turns(contenders.ALL, "tokens", rounds, measure)
    note = f"Resident set of the process that serves, and its growth per stream, {plan.open_streams} open."
    table = Table("Memory", note, ("server", "program", "idle", "per open stream"))
    for contender, own in sizes.items():
        idle = median(before for before, _ in own) / 2**20
        stream = median(after - before for before, after in own) / plan.open_streams / 2**10
        table.rows.append((contender.server, contender.label, f"{idle:.0f} MiB", f"{stream:.1f} KiB"))
    return table


def resident(pid: int) -> int:
    """Bytes of the largest process that serves."""
    sizes = []
    # A master that only waits is as large as what it has imported: it is not the one that serves.
    for each in servers.tree(pid)[1:] or [pid]:
        with contextlib.suppress(OSError):
            sizes.append(int(Path(f"/proc/{each}/statm").read_text().split()[1]) * PAGE)
    return max(sizes)
