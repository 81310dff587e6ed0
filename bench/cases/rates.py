"""What the cases that count answers a second have in common: turns, samples and their table."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

from bench.client import Script, load
from bench.contenders import (
    BARE,
    BARE_GTHREAD,
    PRODUCT,
    PRODUCT_GTHREAD,
    PRODUCT_SERVE,
    PRODUCT_SERVE_GEVENT,
    SDK,
    SDK_GTHREAD,
    SDK_SERVE,
    Contender,
)
from bench.plan import Plan
from bench.report import Table, errors, quantile, ratio, times
from bench.servers import Server, cpu_seconds, running

_T = TypeVar("_T")

Baselines = Mapping[Contender, Contender]
"""What each contender is compared with."""

BARE_OF: Baselines = {
    PRODUCT: BARE,
    PRODUCT_GTHREAD: BARE_GTHREAD,
    PRODUCT_SERVE: BARE_GTHREAD,
    PRODUCT_SERVE_GEVENT: BARE,
}
"""Bare Flask under the same server: `serve()` runs gunicorn, gthread by default."""
SDK_OF: Baselines = {
    PRODUCT: SDK,
    PRODUCT_GTHREAD: SDK_GTHREAD,
    PRODUCT_SERVE: SDK_SERVE,
    PRODUCT_SERVE_GEVENT: SDK,
}
FLASK: Mapping[str, Baselines] = {"to bare": BARE_OF, "to SDK": SDK_OF}
"""The columns of ratios of Flask's servers, by their names."""


@dataclass(slots=True)
class Sample:
    """One contender in one round; seconds: ``delay`` is a 99th percentile, ``cpu`` the server's for one."""

    rate: float
    delay: float
    cpu: float
    busy: float
    errors: Counter[str] = field(default_factory=Counter)


Samples = dict[Contender, list[Sample]]


def in_turns(
    contenders: Sequence[Contender], app: str, rounds: int, measure: Callable[[Server], _T]
) -> dict[Contender, list[_T]]:
    """Measures A B C, A B C, ... each time in a fresh server."""
    samples: dict[Contender, list[_T]] = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            print(f"  {app}: {contender.label}, {contender.server}", file=sys.stderr, flush=True)
            with running(contender, app) as server:
                samples[contender].append(measure(server))
    return samples


def closed_loop(server: Server, script: Script, plan: Plan) -> Sample:
    """Warms up, then measures how fast *script* gets its answers."""
    load(server.port, script, plan.connections, plan.warm_up)
    cpu = cpu_seconds(server.pid)
    got = load(server.port, script, plan.connections, plan.seconds)
    each = (cpu_seconds(server.pid) - cpu) / max(1, got.done)
    return Sample(got.rate, quantile(got.latencies, 0.99), each, got.busy, got.errors)


def rates(samples: Sequence[Sample]) -> list[float]:
    """The rate of each round."""
    return [sample.rate for sample in samples]


def against(samples: Samples, ours: Contender, theirs: Contender | None) -> float | None:
    """How many times the rate of *theirs* the rate of *ours* is."""
    if theirs not in samples or ours not in samples or theirs is None:
        return None
    return ratio(rates(samples[ours]), rates(samples[theirs]))


def table(
    title: str,
    note: str,
    unit: str,
    delay: str,
    samples: Samples,
    baselines: Mapping[str, Baselines] = FLASK,
) -> Table:
    """The table of a case; *delay* names what is in the 99th percentile."""
    headers = ("server", "program", unit, "range", *baselines, delay, "CPU", "generator", "errors")
    result = Table(title, note, headers)
    for contender, own in samples.items():
        values = rates(own)
        ratios = [times(against(samples, contender, of.get(contender))) for of in baselines.values()]
        result.rows.append((
            contender.server,
            contender.label,
            f"{median(values):,.0f}",
            f"{min(values):,.0f} - {max(values):,.0f}",
            *ratios,
            f"{median(sample.delay for sample in own) * 1000:,.0f} ms",
            _micro(median(sample.cpu for sample in own)),
            f"{median(sample.busy for sample in own):.0%}",
            errors(sample.errors for sample in own),
        ))
    return result


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us" if seconds > 1e-5 else f"{seconds * 1e6:.1f} us"
