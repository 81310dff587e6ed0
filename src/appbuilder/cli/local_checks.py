"""Checks of an agent on this machine: its component, its models, and the database of the settings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from appbuilder import clock
from appbuilder.errors import AppBuilderError, ConfigurationError
from appbuilder.settings import Settings

if TYPE_CHECKING:
    from appbuilder.components.model_component import ModelComponent
    from appbuilder.store.sessions.session_store import SqlStore

PER_CONNECTION = 4
"""Threads that use the database at the same time, per connection of the pool..."""
MOST_THREADS = 200
"""...and their maximum."""
_LOCKS = 5.0
"""Seconds to wait for locks of other processes."""
_THREADS = "threads and connections"


@dataclass(frozen=True, slots=True)
class Check:
    """A result. ``ok`` is None for information, and for a check that could not be made."""

    name: str
    ok: bool | None
    text: str


def attempt(name: str, check: Callable[[], Check]) -> Check:
    """The result of *check*; an error is a failure with the error's text."""
    try:
        return check()
    except AppBuilderError as error:
        return Check(name, False, str(error))
    except Exception as error:  # noqa: BLE001 - the remaining checks still run
        return Check(name, False, f"{type(error).__name__}: {error}")


def ms(seconds: float) -> str:
    """A time for display."""
    return f"{1000 * seconds:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def checks(target: str, settings: Settings) -> Iterator[Check]:
    """Checks *target* and the settings."""
    from appbuilder.runtime.loading import load_service

    try:
        service = load_service(target, settings)
    except ConfigurationError as error:
        yield Check("component", False, str(error))
        return
    yield Check("component", True, f"{target} can be served, as {service.name}.")
    yield attempt("exposure", lambda: _exposure(settings))
    models = list(models_of(service.component))
    for model in models:
        yield attempt("model", partial(_model, model, settings))
    if not models:
        yield Check("model", None, "The component has no model client of this package; no model was called.")
    yield from _database(settings)


def _exposure(settings: Settings) -> Check:
    from appbuilder.serve.auth.authenticator import check_exposure

    check_exposure(settings, settings.host)
    how = f"must authenticate ({settings.auth})" if settings.auth else "need no credential"
    return Check("exposure", True, f"On {settings.host}, callers {how}.")


def models_of(component: Any) -> Iterator[ModelComponent]:
    """The model clients among the component and its attributes, one per model."""
    from appbuilder.components.model_component import ModelComponent

    seen = set()
    held = [component, *getattr(component, "__dict__", {}).values()]
    for each in held:
        if isinstance(each, ModelComponent) and each.model_name not in seen:
            seen.add(each.model_name)
            yield each


def _model(model: ModelComponent, settings: Settings) -> Check:
    """Sends one word to the model and reads one chunk of the answer."""
    from appbuilder.models.base import ModelCall, ModelParameters
    from appbuilder.models.registry import call_model

    call = ModelCall(
        service="playground",
        inputs={"query": "ping"},
        messages=[{"role": "user", "content": "ping"}],
        parameters=ModelParameters(max_output_tokens=1),
        stream=True,
        credential=model.credential,
        gateway=model.gateway,
    )
    began = clock.monotonic()
    answer = call_model(model.model_name, call, settings)
    try:
        next(answer, None)
    finally:
        answer.close()
    name = settings.model or model.model_name
    return Check("model", True, f"{name} answers in {ms(clock.monotonic() - began)}.")


def _database(settings: Settings) -> Iterator[Check]:
    """Durability, clock, connections, schema, and concurrent threads. Changes nothing."""
    from appbuilder.store.sessions.open_stores import open_store

    try:
        store = open_store(settings.database, settings)
        facts = store.describe()
    except AppBuilderError as error:
        yield Check("database", False, str(error))
        return
    if facts[0].name != "database":  # otherwise the first one says that there is no file yet
        yield Check("database", True, f"{store!r} can be reached.")
    for fact in facts:
        advice = f" {fact.advice}" if fact.advice else ""
        yield Check(fact.name, fact.good, f"{fact.value}.{advice}")
    if any("not there yet" in fact.value for fact in facts):
        yield Check(_THREADS, None, "Not checked: the tables do not exist yet.")
    else:
        yield attempt("storing", lambda: _storing(store))
        yield attempt(_THREADS, lambda: _threads(store, settings))
    store.close()


def _storing(store: SqlStore) -> Check:
    # Without a session's lock: a service that runs on the file would switch to shared locks.
    store.check_writable(_LOCKS, locking=False)
    return Check("storing", True, "A turn can be stored.")


def _threads(store: SqlStore, settings: Settings) -> Check:
    """Queries from many threads at once, like the turns of a busy service."""
    count = min(PER_CONNECTION * max(1, settings.db_pool), MOST_THREADS)
    start = threading.Barrier(count)

    def ask() -> float:
        start.wait(timeout=30)
        began = clock.monotonic()
        store.ping()
        return clock.monotonic() - began

    with ThreadPoolExecutor(count) as pool:
        slowest = max(each.result() for each in [pool.submit(ask) for _ in range(count)])
    said = f"{count} threads at once on {settings.db_pool} connections: the slowest waited {ms(slowest)}."
    if slowest > settings.db_timeout / 2:
        return Check(_THREADS, False, f"{said} Raise APPBUILDER_DB_POOL, or make the database faster.")
    return Check(_THREADS, True, said)
