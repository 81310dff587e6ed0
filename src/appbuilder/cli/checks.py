"""Proves what a component needs, from this machine: its model, and the database of the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from appbuilder import clock
from appbuilder.errors import AppBuilderError, ConfigurationError
from appbuilder.settings import Settings

if TYPE_CHECKING:
    from appbuilder.components.model_component import ModelComponent


@dataclass(frozen=True, slots=True)
class Check:
    """What was found. ``ok`` None: it could not be told, which is no failure."""

    name: str
    ok: bool | None
    text: str


def attempt(name: str, check: Callable[[], Check]) -> Check:
    """What *check* finds; an error is a failure, in its own words."""
    try:
        return check()
    except AppBuilderError as error:
        return Check(name, False, str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the others are still to be looked at
        return Check(name, False, f"{type(error).__name__}: {error}")


def checks(target: str, settings: Settings) -> Iterator[Check]:
    """What there is to see of a target and its settings."""
    from appbuilder.utils.loading import load_service

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
        yield Check("model", None, "The component holds none of our model clients, so none was asked.")
    yield attempt("database", lambda: _database(settings))


def _exposure(settings: Settings) -> Check:
    from appbuilder.serve.asgi.auth.authenticator import check_exposure

    check_exposure(settings, settings.host)
    how = f"must show who they are ({settings.auth})" if settings.auth else "need not show who they are"
    return Check("exposure", True, f"On {settings.host}, callers {how}.")


def models_of(component: Any) -> Iterator[ModelComponent]:
    """The model clients a component is or holds, each model once."""
    from appbuilder.components.model_component import ModelComponent

    seen = set()
    held = [component, *getattr(component, "__dict__", {}).values()]
    for each in held:
        if isinstance(each, ModelComponent) and each.model_name not in seen:
            seen.add(each.model_name)
            yield each


def _model(model: ModelComponent, settings: Settings) -> Check:
    """One question of one word, of which one piece of the answer is taken."""
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
    return Check("model", True, f"{name} answers in {1000 * (clock.monotonic() - began):.0f} ms.")


def _database(settings: Settings) -> Check:
    from appbuilder.cli.database import open_database

    store = open_database(settings, must_exist=False)
    store.ping()
    return Check("database", True, repr(store))
