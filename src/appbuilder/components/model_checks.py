"""Whether the models that a component plainly uses can be called at all, as far as that is known at start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from appbuilder.components.model_component import ModelComponent
from appbuilder.errors import ConfigurationError
from appbuilder.models.registry import on_gateway, resolve
from appbuilder.settings import Settings


def unready(component: Any, settings: Settings) -> str:
    """Why a call of *component*'s model would fail whatever is asked: no credential, no model's name, no
    engine. Empty: nothing is known against it, which a component that makes its model later is no part of.
    """
    for each in _models_of(component):
        try:
            check = getattr(resolve(each.model_name, settings), "check", None)
            if check is not None:
                check()
            if on_gateway(each.model_name, settings) and not each.lazy_certification:
                each.credential()
        except ConfigurationError as error:
            return str(error)
    return ""


def _models_of(component: Any) -> Iterator[ModelComponent]:
    """The component itself, what it holds, and of a function the globals it names."""
    if isinstance(component, ModelComponent):
        yield component
    held = list(getattr(component, "__dict__", {}).values())
    function = getattr(component, "function", None)
    code = getattr(function, "__code__", None)
    if code is not None:
        there = getattr(function, "__globals__", {})
        held += [there.get(name) for name in code.co_names]
    yield from (each for each in held if isinstance(each, ModelComponent))
