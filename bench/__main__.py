"""Runs all cases, prints the report and writes it to docs/benchmarks.md (a quick run: .bench/quick.md)."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from bench import venvs
from bench.cases import echo, history, memory, newest, paced, page, sidebar, start, tokens
from bench.cases.service import against_starlette, held, workers
from bench.cases.service import history as service_history
from bench.cases.service import paced as service_paced
from bench.plan import Plan
from bench.report import Table, render

ROOT = Path(__file__).parent.parent

CASES: dict[str, Callable[[Plan], Table]] = {
    "echo": echo.run,
    "history": history.run,
    "tokens": tokens.run,
    "paced": paced.run,
    "newest": newest.run,
    "imports": start.imports,
    "start": start.first_answer,
    "memory": memory.run,
    "page": page.run,
    "sidebar": sidebar.run,
    "service-echo": against_starlette.echoes,
    "service-tokens": against_starlette.unpaced,
    "service-paced": service_paced.run,
    "service-held": held.run,
    "service-history": service_history.run,
    "service-workers": workers.run,
}
GROUPS = {"service": [name for name in CASES if name.startswith("service-")]}


def main() -> None:
    """A missed target is printed and no error: the bench reports, it does not judge. A broken case is one."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; {', '.join(GROUPS)}; or all")
    asked = parser.parse_args().cases or list(CASES)
    wanted = [case for name in asked for case in GROUPS.get(name, [name])]
    if unknown := set(wanted) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers are stopped on the way out
    _raise_file_limit()
    venvs.SDK.ensure()
    plan, begin = Plan.load(), time.monotonic()
    tables = []
    for name in wanted:
        print(f"{name} ...", file=sys.stderr, flush=True)
        tables.append(_run(name, plan))
    report = render(tables, os.environ.get("BENCH_COMMAND") or "python -m bench", time.monotonic() - begin)
    print(report)
    partly = plan.quick or len(wanted) < len(CASES)
    path = ROOT / (".bench/quick.md" if partly else "docs/benchmarks.md")
    path.parent.mkdir(exist_ok=True)
    path.write_text(report, encoding="utf-8")
    print(f"written to {path.relative_to(ROOT)}", file=sys.stderr)
    if any(not table.rows for table in tables):
        sys.exit(1)


def _run(name: str, plan: Plan) -> Table:
    try:
        return CASES[name](plan)
    except Exception as error:  # one broken case must not throw away the others' figures
        traceback.print_exc()
        return Table(f"{name}: FAILED", f"`{type(error).__name__}`: {error}", ("nothing was measured",))


def _raise_file_limit() -> None:
    """A file per connection, here and in the servers, which inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
