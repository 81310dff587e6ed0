"""A turn that remembers the turn before, compared with the SDK and two other frameworks, all on SQLite."""

from __future__ import annotations

from bench import venvs
from bench.cases import rates
from bench.cases.history import talks
from bench.contenders import ADK, AGNO, BY_HAND, SDK, Service
from bench.plan import Plan
from bench.report import Table, Target

KEPT = Service("this product")
OWN_ROWS = Service("this product, only the component's rows", history=False)
OURS = (KEPT, OWN_ROWS)


def run(plan: Plan) -> Table:
    """At least 0.6 of the turn by hand, 12 times the SDK (reach for 20), 30 times ADK and AgentOS."""
    venvs.ADK.ensure()
    venvs.AGNO.ensure()
    samples = talks((BY_HAND, *OURS, SDK, ADK, AGNO), plan)
    others = (("to by hand", BY_HAND), ("to SDK", SDK), ("to ADK", ADK), ("to Agno", AGNO))
    baselines: dict[str, rates.Baselines] = {
        name: dict.fromkeys(OURS, theirs)
        for name, theirs in others
    }
    table = rates.table(
        "Service: a turn with history on SQLite", _note(plan), "turns/s", "p99", samples, baselines
    )
    to_sdk = rates.against(samples, KEPT, SDK)
    table.targets += [
        Target("service, turn with history, of the turn by hand", rates.against(samples, KEPT, BY_HAND), 0.6),
        Target("service, turn with history, of the SDK", to_sdk, 12),
        Target("the same, to reach for", to_sdk, 20),
        Target("service, turn with history, of Google ADK", rates.against(samples, KEPT, ADK), 30),
        Target("service, turn with history, of Agno", rates.against(samples, KEPT, AGNO), 30),
    ]
    return table


def _note(plan: Plan) -> str:
    return (
        f"{plan.sessions} sessions over {plan.connections} connections, no model: an answer names the turn "
        "before it, which the program takes from its framework's history, and is checked for that. "
        "`this product`: a component reads two keys and appends two, and the service keeps the turn "
        "besides, in one "
        "durable commit (WAL, synchronous=FULL). `by hand` makes the same look-ups and rows with sqlite3 and "
        "a writer thread that groups them, and has nothing else: the limit. "
        "The SDK runs the same component under gunicorn gevent. ADK "
        "is a `BaseAgent` behind `adk api_server --session_service_uri=sqlite:///... --auto_create_session`; "
        "AgentOS an `Agent` with `SqliteDb`, the last run in its context, and a model class that answers. "
        "Both stand on this product's uvicorn, uvloop and httptools, one process each. "
        "ADK writes an access log, which cannot be turned off."
    )
