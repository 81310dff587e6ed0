"""Tables, targets and the machine, as text that is Markdown and readable in a terminal."""

from __future__ import annotations

import os
import platform
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median


@dataclass(frozen=True, slots=True)
class Target:
    """A number the issue asks for. ``at_most``: smaller is better. ``value`` None: it was not measurable."""

    what: str
    value: float | None
    limit: float
    at_most: bool = False
    unit: str = "x"

    @property
    def met(self) -> bool:
        if self.value is None:
            return False
        return self.value <= self.limit if self.at_most else self.value >= self.limit


@dataclass(slots=True)
class Table:
    """One case's results."""

    title: str
    note: str
    headers: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The median of the rounds' ratios; None where theirs did nothing."""
    pairs = [a / b for a, b in zip(ours, theirs, strict=True) if b]
    return median(pairs) if pairs else None


def times(value: float | None) -> str:
    """A ratio."""
    return "-" if value is None else f"{value:.2f}x"


def quantile(values: Iterable[float], q: float) -> float:
    """The value below which the share *q* lies; nan of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


def errors(counts: Iterable[Counter[str]]) -> str:
    """All errors by kind."""
    total = sum(counts, Counter())
    return ", ".join(f"{count} {kind}" for kind, count in total.most_common()) or "0"


def render(tables: Sequence[Table], command: str, seconds: float) -> str:
    """The whole report."""
    now = datetime.now(UTC)
    lines = [
        "# Benchmarks",
        "",
        f"Measured with `{command}` in {seconds / 60:.1f} minutes, {now:%Y-%m-%d %H:%M} UTC.",
        "The file is written by that command; the programs that are compared are in `bench/apps`.",
        "",
        *_grid(("machine", ""), _machine()),
        "",
        "Contenders take turns, each round in a fresh server process (one worker) on an empty database;",
        "numbers are medians over the rounds, ratios the medians of each round's ratio. Every answer is",
        "checked; wrong, late (10 s) and lost ones are the errors. `CPU` is the server's processor",
        "time for one, `generator` the share of a core that the load generator used.",
        "",
        "## Targets",
        "",
        *_grid(("what", "measured", "target", ""), [_target(t) for table in tables for t in table.targets]),
    ]
    for table in tables:
        lines += ["", f"## {table.title}", "", table.note, "", *_grid(table.headers, table.rows)]
    machinery = Path(__file__).with_name("machinery.md").read_text(encoding="utf-8")  # measured by hand
    return "\n".join([*lines, "", machinery])


def _target(target: Target) -> Sequence[str]:
    value = "-" if target.value is None else f"{target.value:.3g} {target.unit}"
    sign = "at most" if target.at_most else "at least"
    return target.what, value, f"{sign} {target.limit:g} {target.unit}", "met" if target.met else "MISSED"


def _grid(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(_width, column)) for column in zip(headers, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join(padded) + " |"

    return [line(headers), line(["-" * width for width in widths]), *map(line, rows)]


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _machine() -> list[tuple[str, str]]:
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    packages = ("gunicorn", "gevent", "flask", "sqlalchemy", "pydantic", "orjson", "chainlit")
    return [
        ("CPU", f"{_cpu()}, {os.cpu_count()} cores"),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"),
        ("kernel", f"{platform.system()} {platform.release()}"),
        ("Python", platform.python_version()),
        ("packages", ", ".join(f"{name} {version(name)}" for name in packages)),
        ("load average at the end", load),
    ]


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
