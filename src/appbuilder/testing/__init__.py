"""Doubles for tests of programs built on AppBuilder Runtime. Nothing here needs a test framework.

- :class:`ScriptedComponent`, :class:`AsyncScriptedComponent`: components that answer by a script;
- :class:`GatewayDouble`, :class:`OpenAIDouble`: model servers on a loopback port, on the recorded wire;
- :class:`AppDouble`: AppBuilder's service for published applications, which ``AppBuilderClient`` speaks to;
- :class:`ScriptedModel`, :class:`FaultyModel`, :func:`model_named`: models without a server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from appbuilder.testing.app import AppDouble as AppDouble
    from appbuilder.testing.app import AppReply as AppReply
    from appbuilder.testing.app import SentFile as SentFile
    from appbuilder.testing.component import BEFORE as BEFORE
    from appbuilder.testing.component import AsyncScriptedComponent as AsyncScriptedComponent
    from appbuilder.testing.component import Script as Script
    from appbuilder.testing.component import ScriptedComponent as ScriptedComponent
    from appbuilder.testing.gateway import GatewayDouble as GatewayDouble
    from appbuilder.testing.models import Fault as Fault
    from appbuilder.testing.models import FaultyModel as FaultyModel
    from appbuilder.testing.models import ScriptedModel as ScriptedModel
    from appbuilder.testing.models import model_named as model_named
    from appbuilder.testing.openai import OpenAIDouble as OpenAIDouble
    from appbuilder.testing.server import Recorded as Recorded
    from appbuilder.testing.server import Reply as Reply

_HOMES = {
    "AppDouble": "app",
    "AppReply": "app",
    "BEFORE": "component",
    "AsyncScriptedComponent": "component",
    "Fault": "models",
    "FaultyModel": "models",
    "GatewayDouble": "gateway",
    "OpenAIDouble": "openai",
    "Recorded": "server",
    "Reply": "server",
    "Script": "component",
    "ScriptedComponent": "component",
    "ScriptedModel": "models",
    "SentFile": "app",
    "model_named": "models",
}

__all__ = [
    "BEFORE",
    "AppDouble",
    "AppReply",
    "AsyncScriptedComponent",
    "Fault",
    "FaultyModel",
    "GatewayDouble",
    "OpenAIDouble",
    "Recorded",
    "Reply",
    "Script",
    "ScriptedComponent",
    "ScriptedModel",
    "SentFile",
    "model_named",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'appbuilder.testing' has no attribute {name!r}")
    return getattr(import_module(f"appbuilder.testing.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
