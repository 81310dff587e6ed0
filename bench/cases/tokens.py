"""Pieces of text a second over streams that are made as fast as they can be."""

from __future__ import annotations

from collections.abc import Sequence

from bench import contenders, protocols, servers
from bench.cases import rates
from bench.cases.checks import stream_of
from bench.client import streams
from bench.contenders import Contender
from bench.plan import Plan
from bench.report import Table, Target, quantile


def unpaced(those: Sequence[Contender], plan: Plan) -> rates.Samples:
    """How many pieces a second each of them streams."""
    requests = stream_requests(plan.fast_streams, plan.fast_pieces, 0.0)
    check = stream_of(plan.fast_pieces)

    def measure(server: servers.Server) -> rates.Sample:
        streams(server.port, requests.__getitem__, check, plan.fast_streams, lambda _: False)
        cpu = servers.cpu_seconds(server.pid)
        got = streams(
            server.port, requests.__getitem__, check, plan.fast_streams, lambda taken: taken < plan.seconds
        )
        first = quantile((stream.first_piece for stream in got.streams), 0.99)
        count = len(got.streams) * plan.fast_pieces
        each = (servers.cpu_seconds(server.pid) - cpu) / max(1, count)
        return rates.Sample(count / got.seconds, first, each, got.busy, got.errors)

    return rates.in_turns(those, "tokens", plan.rounds, measure)


def note(plan: Plan) -> str:
    return f"{plan.fast_streams} streams at a time, {plan.fast_pieces} pieces each, unpaced."


def run(plan: Plan) -> Table:
    """gevent: at least 8 times the SDK."""
    samples = unpaced(contenders.ALL, plan)
    table = rates.table("Tokens", note(plan), "tokens/s", "p99 of the first piece", samples)
    value = rates.against(samples, contenders.PRODUCT, contenders.SDK)
    table.targets.append(Target("tokens/s, gunicorn gevent, of the SDK", value, 8))
    return table


def stream_requests(count: int, pieces: int, delay: float) -> list[bytes]:
    """A request each for *count* streams of *pieces* pieces, *delay* seconds apart."""
    return [protocols.stream_request(f"s{number}", pieces, delay) for number in range(count)]
