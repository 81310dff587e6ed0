"""Streams paced like a model's: a thousand compared with bare Starlette, and as many as a process holds."""

from __future__ import annotations

from statistics import median

from bench.cases.paced import Wave, ideal, waves
from bench.cases.service.against_starlette import ASYNC_STORED, SYNC_STORED
from bench.contenders import STARLETTE, Contender
from bench.plan import Plan
from bench.report import Table, Target, errors, ratio, times

OURS = (SYNC_STORED, ASYNC_STORED)
PATIENCE = 60.0
"""Seconds without any byte, where a process has more to write than it can."""
HEADERS = (
    *("server", "program", "streams", "complete", "first piece p50", "p99", "wall", "to Starlette"),
    *("CPU in all", "generator", "errors"),
)


def run(plan: Plan) -> Table:
    """The wall time of a thousand at most 1.1 times Starlette's; of 5000 all complete."""
    note = (
        f"Streams begun at once, {ideal(plan)} Each turn is stored when its stream ends. "
        f"{plan.many_streams} are more than one process can write at that pace: they are late, but none may "
        f"be lost, or silent for {PATIENCE:g} s."
    )
    table = Table("Service: paced streams", note, HEADERS)
    few, many = plan.slow_streams, plan.many_streams
    few_waves = waves((STARLETTE, *OURS), plan, few, plan.rounds)
    many_waves = waves((STARLETTE, *OURS), plan, many, plan.few_rounds, PATIENCE)
    _add(table, few, few_waves)
    _add(table, many, many_waves)
    for ours in OURS:
        wall = _wall(ours, few_waves)
        name = f"service, {few} paced streams, {ours.label}"
        table.targets.append(Target(f"{name}, wall time to Starlette", wall, 1.1, at_most=True))
        complete = min(wave.complete for wave in many_waves[ours]) / many
        table.targets.append(Target(f"service, {many} paced streams, {ours.label}, complete", complete, 1))
    return table


def _wall(contender: Contender, those: dict[Contender, list[Wave]]) -> float | None:
    """A wave that was not complete has no time."""
    own, bare = those[contender], those[STARLETTE]
    if any(wave.errors for wave in own):
        return None
    return ratio([wave.seconds for wave in own], [wave.seconds for wave in bare])


def _add(table: Table, count: int, those: dict[Contender, list[Wave]]) -> None:
    for contender, own in those.items():
        table.rows.append((
            contender.server,
            contender.label,
            f"{count}",
            f"{min(wave.complete for wave in own)} of {count}",
            f"{median(wave.first_median for wave in own) * 1000:,.0f} ms",
            f"{median(wave.first_p99 for wave in own) * 1000:,.0f} ms",
            f"{median(wave.seconds for wave in own):.2f} s",
            "-" if contender is STARLETTE else times(_wall(contender, those)),
            f"{median(wave.cpu for wave in own):.2f} s",
            f"{median(wave.busy for wave in own):.0%}",
            errors(wave.errors for wave in own),
        ))
