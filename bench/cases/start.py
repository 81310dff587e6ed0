"""Imports, and the time from the start of a server to its first answer."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

from bench import contenders, venvs
from bench.cases import rates
from bench.plan import Plan
from bench.report import Table, Target, ratio, times

PYDANTIC = "from pydantic import BaseModel"
PACKAGE = "import appbuilder"
NAMES = "from appbuilder import Message, Component, UserSession"
SDK_NAMES = "from appbuilder import Message, UserSession; from appbuilder.core.component import Component"
CLOCK = "import time; begin = time.perf_counter(); {}; print(time.perf_counter() - begin)"

IMPORTS = {
    (PYDANTIC, ""): sys.executable,
    (PACKAGE, "this product"): sys.executable,
    (NAMES, "this product"): sys.executable,
    (PACKAGE, "SDK 1.1.5"): str(venvs.SDK.python),
    (SDK_NAMES, "SDK 1.1.5"): str(venvs.SDK.python),
}


def imports(plan: Plan) -> Table:
    """At most 2.5 times pydantic's."""
    taken: dict[tuple[str, str], list[float]] = {what: [] for what in IMPORTS}
    for number in range(plan.processes + 1):
        for what, python in IMPORTS.items():
            done = subprocess.run([python, "-c", CLOCK.format(what[0])], check=True, capture_output=True)
            if number:  # the first one compiles
                taken[what].append(float(done.stdout.split()[-1]))
    note = f"Median of {plan.processes} fresh processes each, in turns; without the interpreter's own start."
    table = Table("Imports", note, ("statement", "of", "time", "to pydantic"))
    base = taken[PYDANTIC, ""]
    for (statement, label), own in taken.items():
        to_pydantic = times(ratio(own, base)) if label else ""
        table.rows.append((f"`{statement}`", label, f"{median(own) * 1000:,.1f} ms", to_pydantic))
    value = ratio(taken[NAMES, "this product"], base)
    table.targets.append(Target(f"`{NAMES}`, of `{PYDANTIC}`", value, 2.5, at_most=True))
    return table


def first_answer(plan: Plan) -> Table:
    """From the start of the process to the first answer over HTTP."""
    seconds = rates.in_turns(contenders.ALL, "history", plan.rounds, lambda server: server.start_seconds)
    note = "From the start of the process to the first answer; the program with history, no database yet."
    table = Table("Start to first answer", note, ("server", "program", "time", "range"))
    for contender, own in seconds.items():
        spread = f"{min(own):.2f} - {max(own):.2f} s"
        table.rows.append((contender.server, contender.label, f"{median(own):.2f} s", spread))
    return table
