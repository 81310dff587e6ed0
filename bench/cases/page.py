"""The chat page compared with Chainlit alone: how long users wait for the first chunk of an answer."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench import chainlit_env, contenders, servers
from bench.apps import text
from bench.browser import Answer, Browser, browser
from bench.cases import rates
from bench.client import Failure
from bench.plan import Plan
from bench.report import Table, Target, errors, quantile

PIECES = 10
TURNS = 20
"""Of one conversation."""
LONG = 2000
LONG_ANSWERS = 3
STORE_WAIT = 5.0
"""Seconds after which what was shown must be stored: Chainlit does not wait for its data layer."""

STORED = {
    "page_product": "SELECT count(*) FROM appbuilder_session_messages WHERE message_key = '_appbuilder.turn'",
    "page_chainlit_stored": "SELECT count(*) FROM steps WHERE type = 'assistant_message' AND output <> ''",
}
"""Counts the answers that were stored, for the programs that store them."""


@dataclass(slots=True)
class Sample:
    """One contender in one round; times in seconds."""

    start: float
    firsts: list[float] = field(default_factory=list)
    """To the first piece of each answer to the only user."""
    crowd: list[float] = field(default_factory=list)
    """To the first piece, of users who ask all at once."""
    crowd_seconds: float = 0.0
    rates: list[float] = field(default_factory=list)
    """Tokens a second of each long answer."""
    busy: float = 0.0
    shown: int = 0
    errors: Counter[str] = field(default_factory=Counter)


def run(plan: Plan) -> Table:
    """At most 20 ms more than Chainlit alone at the median; all complete."""
    chainlit_env.ensure()

    def measure(server: servers.Server) -> Sample:
        visit = _Visit(server)
        begin, used = time.perf_counter(), time.process_time()
        asyncio.run(visit.measure(plan))
        visit.sample.busy = (time.process_time() - used) / (time.perf_counter() - begin)
        return visit.sample

    return _table(plan, rates.in_turns(contenders.PAGES, "page", plan.rounds, measure))


class _Visit:
    """Users of one server."""

    def __init__(self, server: servers.Server) -> None:
        self.sample = Sample(server.start_seconds)
        self._server = server

    async def measure(self, plan: Plan) -> None:
        sample = self.sample
        await self._one_user(plan.warm_up)
        sample.firsts = [answer.first_piece for answer in await self._one_user(plan.seconds)]
        await self._crowd(plan)
        async with browser(self._server.port) as one:
            answers = [await self._ask(one, LONG, 0.0) for _ in range(LONG_ANSWERS)]
        sample.rates = [LONG / answer.end for answer in answers if answer is not None]
        await self._check_stored()

    async def _one_user(self, seconds: float) -> list[Answer]:
        """One question after the other, for *seconds*."""
        answers: list[Answer | None] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            async with browser(self._server.port) as one:
                answers += [await self._ask(one, PIECES, 0.0) for _ in range(TURNS)]
        return [answer for answer in answers if answer is not None]

    async def _crowd(self, plan: Plan) -> None:
        """Many users, who all ask at once."""
        async with contextlib.AsyncExitStack() as stack:
            users = [
                await stack.enter_async_context(browser(self._server.port)) for _ in range(plan.connections)
            ]
            begin = time.perf_counter()
            asking = (self._ask(user, plan.slow_pieces, plan.slow_delay) for user in users)
            answers = await asyncio.gather(*asking)
            self.sample.crowd_seconds = time.perf_counter() - begin
        self.sample.crowd = [answer.first_piece for answer in answers if answer is not None]

    async def _ask(self, user: Browser, pieces: int, delay: float) -> Answer | None:
        """None: the answer does not count, and the error was counted."""
        try:
            answer = await user.ask(text.for_pieces(pieces, delay))
            if answer.text != "".join(text.pieces(pieces, 0)):
                raise Failure("wrong answer")
        except Failure as failure:
            self.sample.errors[str(failure)] += 1
            return None
        self.sample.shown += 1
        return answer

    async def _check_stored(self) -> None:
        count = STORED.get(self._server.program)
        if count is None:
            return
        deadline = time.monotonic() + STORE_WAIT
        database = sqlite3.connect(self._server.log.parent / "bench.db")
        with contextlib.closing(database):
            while (missing := self.sample.shown - database.execute(count).fetchone()[0]) > 0:
                if time.monotonic() > deadline:
                    self.sample.errors["not stored"] += missing
                    return
                await asyncio.sleep(0.05)


def _table(plan: Plan, samples: dict[contenders.Contender, list[Sample]]) -> Table:
    headers = (
        *("server", "program", "first piece p50", "p99", "added"),
        *(f"{plan.connections} users: p50", "p99", "complete", "wall"),
        *("tokens/s", "start", "generator", "errors"),
    )
    table = Table("The chat page", _note(plan), headers)
    for contender, own in samples.items():
        added = _added(own, samples[contenders.CHAINLIT_PAGE])
        table.rows.append((
            *(contender.server, contender.label, *_delays([sample.firsts for sample in own])),
            "-" if contender is contenders.CHAINLIT_PAGE else f"{added:+.1f} ms",
            *_delays([sample.crowd for sample in own]),
            f"{min(len(sample.crowd) for sample in own)} of {plan.connections}",
            f"{median(sample.crowd_seconds for sample in own):.2f} s",
            f"{quantile((rate for sample in own for rate in sample.rates), 0.5):,.0f}",
            f"{median(sample.start for sample in own):.2f} s",
            f"{median(sample.busy for sample in own):.0%}",
            errors(sample.errors for sample in own),
        ))
    ours = samples[contenders.PRODUCT_PAGE]
    complete = min(len(sample.crowd) for sample in ours) / plan.connections
    table.targets += [
        Target(
            "chat page, first piece at the median, added to Chainlit alone",
            _added(ours, samples[contenders.CHAINLIT_PAGE]), 20, at_most=True, unit="ms",
        ),
        Target(f"chat page, {plan.connections} users at once, complete", complete, 1),
    ]
    return table


def _note(plan: Plan) -> str:
    ideal = (plan.slow_pieces - 1) * plan.slow_delay
    return (
        "From sending a question over the page's WebSocket to the first event that shows a piece of its "
        f"answer. One user asks for {PIECES} pieces, unpaced, again and again, {TURNS} questions a "
        f"conversation; then {plan.connections} users ask at once for {plan.slow_pieces} pieces, "
        f"{plan.slow_delay * 1000:g} ms apart (ideal {ideal:.2f} s). `tokens/s` is of one answer of {LONG:,} "
        "pieces, unpaced, until it is shown whole: this product sends pieces that wait together as one "
        "event. `start` is from the start of the process to the page. This product stores each turn, "
        "durably, before it shows that it has ended; Chainlit alone stores nothing. That is a handler by "
        "hand around the same synchronous generator, which takes each piece in a thread and sends it with "
        "`stream_token`. Chainlit's own data layer is SQLAlchemy's, on SQLite's defaults; no user waits for "
        "what it writes."
    )


def _delays(rounds: Sequence[Sequence[float]]) -> Iterator[str]:
    for share in (0.5, 0.99):
        yield f"{median(quantile(own, share) for own in rounds) * 1000:,.1f} ms"


def _added(ours: Sequence[Sample], theirs: Sequence[Sample]) -> float:
    """Milliseconds to the first piece: the median over the rounds of the difference of the medians."""
    pairs = zip(ours, theirs, strict=True)
    return median(quantile(a.firsts, 0.5) - quantile(b.firsts, 0.5) for a, b in pairs) * 1000
