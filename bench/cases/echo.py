"""Requests a second of a component that answers with what it was asked."""

from __future__ import annotations

from collections.abc import Sequence

from bench import contenders, servers
from bench.apps import text
from bench.cases import rates
from bench.client import Failure
from bench.contenders import Contender
from bench.plan import Plan
from bench.protocols import CHAT
from bench.report import Table, Target


class Echo:
    """Asks, and expects the same back; a session per connection."""

    def __init__(self, connections: int) -> None:
        self._texts = [text.question(number) for number in range(connections)]
        self._requests = [CHAT.ask(f"c{number}", asked) for number, asked in enumerate(self._texts)]

    def request(self, number: int) -> bytes:
        return self._requests[number]

    def check(self, number: int, status: int, body: bytes) -> None:
        if CHAT.answer(status, body) != self._texts[number]:
            raise Failure("wrong answer")

    def failed(self, number: int) -> None:
        """Nothing to forget."""


def echoes(those: Sequence[Contender], plan: Plan) -> rates.Samples:
    """How many requests a second each of them answers."""

    def measure(server: servers.Server) -> rates.Sample:
        return rates.closed_loop(server, Echo(plan.connections), plan)

    return rates.in_turns(those, "echo", plan.rounds, measure)


def note(plan: Plan) -> str:
    return f"{plan.connections} connections, each sends its next request when it has its answer."


def run(plan: Plan) -> Table:
    """At least 0.75 of bare Flask under the same server."""
    samples = echoes(contenders.ALL, plan)
    table = rates.table("Echo", note(plan), "requests/s", "p99", samples)
    for ours, theirs in rates.BARE_OF.items():
        value = rates.against(samples, ours, theirs)
        table.targets.append(Target(f"echo, {ours.server}, of bare Flask", value, 0.75))
    return table
