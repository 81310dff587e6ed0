"""Which server a model's name means, and the one place all model calls go through.

===================  =====================================================================
``local``            the embedded server, with the model of ``APPBUILDER_LOCAL_MODEL``
``local/<model>``    the embedded server, with that model
``openai/<name>``    the OpenAI-compatible server at ``OPENAI_BASE_URL``
anything else        a model of AppBuilder's gateway
===================  =====================================================================

``APPBUILDER_MODEL`` sends every model of a program elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from appbuilder import telemetry
from appbuilder.cooperation import before_blocking
from appbuilder.core.context import current_context
from appbuilder.errors import ConfigurationError
from appbuilder.models import call_spans
from appbuilder.models.base import Model, ModelCall, ModelStream, Server
from appbuilder.models.call_steps import StepRecorder
from appbuilder.models.call_watches import TokenCounter, Watch, open_watched
from appbuilder.settings import Settings

Factory = Callable[[str, Settings], Model]
"""Makes the model of a name: what stands behind ``<prefix>/``, or an empty text for ``<prefix>`` alone."""


def _local(name: str, settings: Settings) -> Model:
    from appbuilder.models.local.model import local_model

    return local_model(name, settings)


@functools.lru_cache(maxsize=64)
def _openai(name: str, settings: Settings) -> Model:
    # Cached, so that what a server was seen to refuse is remembered.
    from appbuilder.models.openai import OpenAIModel

    if not name:
        raise ConfigurationError("Say which model of the OpenAI-compatible server: openai/<name>.")
    return OpenAIModel(name, settings.openai_base_url, settings.openai_api_key, settings)


_factories: dict[str, Factory] = {"local": _local, "openai": _openai}


def register(prefix: str, factory: Factory | None) -> None:
    """Makes the names ``<prefix>`` and ``<prefix>/...`` mean *factory*'s models; None takes them away."""
    if factory is None:
        _factories.pop(prefix, None)
    else:
        _factories[prefix] = factory


def resolve(name: str, settings: Settings) -> Model:
    """The model *name* means.

    :raises ConfigurationError: there is no name, or it is incomplete.
    """
    chosen = settings.model or name
    prefix, _, rest = chosen.partition("/")
    factory = _factories.get(prefix)
    if factory is not None:
        return factory(rest, settings)
    if not chosen:
        raise ConfigurationError("Name a model: model=..., or set APPBUILDER_MODEL (`local` needs no key).")
    from appbuilder.models.gateway import GatewayModel

    return GatewayModel(chosen, settings)


def on_gateway(name: str, settings: Settings) -> bool:
    """True where *name* means a model of AppBuilder's gateway, which holds the prompts of its services."""
    return (settings.model or name).partition("/")[0] not in _factories


def call_model(name: str, call: ModelCall, settings: Settings | None = None) -> ModelStream:
    """Sends *call* to the model *name* means; see :meth:`appbuilder.models.base.Model.open`."""
    before_blocking()
    settings = Settings.load() if settings is None else settings
    model = resolve(name, settings)
    context, watches = current_context(), list[Watch]()
    if context is not None:
        context.model_calls += 1
        if context.on_step is not None:
            watches.append(StepRecorder(settings.model or name, call, context.on_step))
    if telemetry.current is not telemetry.NOBODY:
        watches.append(TokenCounter())
    traced = call_spans.begin(
        getattr(model, "server", None) or Server("_OTHER", settings.model or name), call
    )
    if traced is not None:
        watches.append(traced)
    if not watches:
        return model.open(call)
    return open_watched(model, call, watches, None if traced is None else traced.span)
