"""Turns a second of a component that reads two keys of history and appends two messages, on SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from bench import contenders, servers
from bench.apps import text
from bench.cases import rates
from bench.client import Failure
from bench.contenders import Contender
from bench.plan import Plan
from bench.protocols import Protocol
from bench.report import Table, Target


class Conversation:
    """One session: remembers what was said last, which the next answer must know."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self.id = str(uuid4())
        self.turn = 0
        self.last_query = self.last_answer = "-"

    def ask(self) -> bytes:
        return self._protocol.ask(self.id, text.question(self.turn))

    def answered(self, status: int, body: bytes) -> None:
        """:raises Failure: the answer is wrong."""
        query, content = text.question(self.turn), self._protocol.answer(status, body)
        if content != text.reply(query, self.last_query, self.last_answer):
            raise Failure("wrong history")
        self.turn += 1
        self.last_query, self.last_answer = query, content


class Talk:
    """Each connection goes round its share of the sessions, so that no session has two turns at a time."""

    def __init__(self, protocol: Protocol, plan: Plan) -> None:
        self._protocol = protocol
        share = plan.sessions // plan.connections
        self._sessions = [[self._begun() for _ in range(share)] for _ in range(plan.connections)]
        self._at = [-1] * plan.connections

    def request(self, number: int) -> bytes:
        self._at[number] = (self._at[number] + 1) % len(self._sessions[number])
        return self._current(number).ask()

    def check(self, number: int, status: int, body: bytes) -> None:
        self._current(number).answered(status, body)

    def failed(self, number: int) -> None:
        # Whether that turn is stored is not known: go on in a new session.
        self._sessions[number][self._at[number]] = self._begun()

    def _current(self, number: int) -> Conversation:
        return self._sessions[number][self._at[number]]

    def _begun(self) -> Conversation:
        return Conversation(self._protocol)


def talks(those: Sequence[Contender], plan: Plan) -> rates.Samples:
    """How many turns a second each of them makes."""

    def measure(server: servers.Server) -> rates.Sample:
        return rates.closed_loop(server, Talk(server.protocol, plan), plan)

    return rates.in_turns(those, "history", plan.rounds, measure)


def run(plan: Plan) -> Table:
    """gevent: at least 5 times the SDK (reach for 7) and 0.9 of the program by hand."""
    samples = talks(contenders.ALL, plan)
    note = (
        f"{plan.sessions} sessions over {plan.connections} connections; each turn reads the newest message "
        "of two keys and appends two: one durable commit a turn (WAL, synchronous=FULL; the SDK commits each "
        "message, on SQLite's defaults). Bare Flask is a program by hand with sqlite3, an index, and a lock "
        "around its writes. Each answer names the turn before it, and is checked for that."
    )
    table = rates.table("A turn with history on SQLite", note, "turns/s", "p99", samples)
    to_sdk = rates.against(samples, contenders.PRODUCT, contenders.SDK)
    to_bare = rates.against(samples, contenders.PRODUCT, contenders.BARE)
    table.targets += [
        Target("turn with history, gunicorn gevent, of the SDK", to_sdk, 5),
        Target("the same, to reach for", to_sdk, 7),
        Target("turn with history, gunicorn gevent, of Flask + sqlite3 by hand", to_bare, 0.9),
    ]
    return table
