"""Many streams at once whose pieces come one after the other, as a model's do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench import contenders, servers
from bench.cases import rates
from bench.cases.checks import stream_of
from bench.cases.tokens import stream_requests
from bench.client import TIMEOUT, streams
from bench.contenders import Contender
from bench.plan import Plan
from bench.report import Table, Target, errors, quantile, ratio, times


@dataclass(slots=True)
class Wave:
    """One contender in one round; times in seconds."""

    complete: int
    first_median: float
    first_p99: float
    seconds: float
    cpu: float
    """Of the server, for the whole wave."""
    busy: float
    errors: Counter[str]


def waves(
    those: Sequence[Contender], plan: Plan, count: int, rounds: int, timeout: float = TIMEOUT
) -> dict[Contender, list[Wave]]:
    """*count* streams begun at once, for each of them; *timeout* as :func:`bench.client.streams` has it."""
    requests = stream_requests(count, plan.slow_pieces, plan.slow_delay)
    warm = stream_requests(plan.connections, 2, 0.0)

    def measure(server: servers.Server) -> Wave:
        streams(server.port, warm.__getitem__, stream_of(2), len(warm), lambda taken: taken < plan.warm_up)
        check = stream_of(plan.slow_pieces)
        cpu = servers.cpu_seconds(server.pid)
        got = streams(server.port, requests.__getitem__, check, len(requests), lambda _: False, timeout)
        firsts = [stream.first_piece for stream in got.streams]
        return Wave(
            len(firsts), quantile(firsts, 0.5), quantile(firsts, 0.99), got.seconds,
            servers.cpu_seconds(server.pid) - cpu, got.busy, got.errors,
        )

    return rates.in_turns(those, "tokens", rounds, measure)


def ideal(plan: Plan) -> str:
    """What is asked for, and how long it takes where nothing costs any time."""
    seconds = (plan.slow_pieces - 1) * plan.slow_delay
    return (
        f"{plan.slow_pieces} pieces each, {plan.slow_delay * 1000:g} ms apart (ideal {seconds:.2f} s). "
        "The time to the first piece counts from the connect."
    )


def run(plan: Plan) -> Table:
    """All complete; p99 of the first piece at most 1.5 times bare Flask's."""
    return _table(plan, waves(contenders.ALL, plan, plan.slow_streams, plan.rounds))


def _table(plan: Plan, those: dict[Contender, list[Wave]]) -> Table:
    note = f"{plan.slow_streams} streams begun at once, {ideal(plan)}"
    headers = ("server", "program", "complete", "first piece p50", "p99", "p99 to bare", "wall", "errors")
    table = Table("Paced streams", note, headers)
    for contender, own in those.items():
        to_bare = _to_bare(contender, those)
        table.rows.append((
            contender.server,
            contender.label,
            f"{min(wave.complete for wave in own)} of {plan.slow_streams}",
            f"{median(wave.first_median for wave in own) * 1000:,.0f} ms",
            f"{median(wave.first_p99 for wave in own) * 1000:,.0f} ms",
            times(to_bare),
            f"{median(wave.seconds for wave in own):.2f} s",
            errors(wave.errors for wave in own),
        ))
        if contender in rates.BARE_OF:
            complete = min(wave.complete for wave in own) / plan.slow_streams
            where = f"{plan.slow_streams} paced streams, {contender.server}"
            table.targets += [
                Target(f"{where}, complete", complete, 1),
                Target(f"{where}, p99 of the first piece to bare Flask's", to_bare, 1.5, at_most=True),
            ]
    return table


def _to_bare(contender: Contender, those: dict[Contender, list[Wave]]) -> float | None:
    bare = rates.BARE_OF.get(contender)
    if bare is None:
        return None
    return ratio([wave.first_p99 for wave in those[contender]], [wave.first_p99 for wave in those[bare]])
