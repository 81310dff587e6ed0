"""Answers and pieces a second: what the service adds to Starlette on uvicorn, uvloop and httptools."""

from __future__ import annotations

from bench.cases import echo, rates, tokens
from bench.contenders import STARLETTE, Service
from bench.plan import Plan
from bench.report import Table, Target

SYNC = Service("synchronous component", history=False)
ASYNC = Service("asynchronous component", history=False, asynchronous=True)
SYNC_STORED = Service("synchronous component, turns stored")
ASYNC_STORED = Service("asynchronous component, turns stored", asynchronous=True)

OURS = (SYNC, ASYNC, SYNC_STORED, ASYNC_STORED)
TO_STARLETTE: dict[str, rates.Baselines] = {"to Starlette": dict.fromkeys(OURS, STARLETTE)}
STORED = "`turns stored`: the service keeps each turn on SQLite, as it does by default, durably."


def echoes(plan: Plan) -> Table:
    """At least 0.5 of bare Starlette with history off."""
    samples = echo.echoes((STARLETTE, *OURS), plan)
    note = f"{echo.note(plan)} {STORED}"
    table = rates.table("Service: echo", note, "requests/s", "p99", samples, TO_STARLETTE)
    for ours in (SYNC, ASYNC):
        value = rates.against(samples, ours, STARLETTE)
        table.targets.append(Target(f"service, echo, {ours.label}, history off, of Starlette", value, 0.5))
    return table


def unpaced(plan: Plan) -> Table:
    """At least what bare Starlette makes, also with the turns stored."""
    samples = tokens.unpaced((STARLETTE, *OURS), plan)
    note = f"{tokens.note(plan)} {STORED}"
    delay = "p99 of the first piece"
    table = rates.table("Service: tokens", note, "tokens/s", delay, samples, TO_STARLETTE)
    for ours in OURS:
        value = rates.against(samples, ours, STARLETTE)
        table.targets.append(Target(f"service, tokens/s, {ours.label}, of Starlette", value, 1))
    return table
