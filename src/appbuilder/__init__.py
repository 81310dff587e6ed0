"""AppBuilder Runtime: a Python object that answers a message, as a service people can rely on.

Names load when they are first used, so that ``import appbuilder`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from appbuilder._version import __version__

if TYPE_CHECKING:
    from appbuilder.components.app_client.apps import describe_app as describe_app
    from appbuilder.components.app_client.apps import describe_apps as describe_apps
    from appbuilder.components.app_client.apps import get_all_apps as get_all_apps
    from appbuilder.components.app_client.apps import get_app_list as get_app_list
    from appbuilder.components.app_client.client import AgentBuilder as AgentBuilder
    from appbuilder.components.app_client.client import AppBuilderClient as AppBuilderClient
    from appbuilder.components.playground import Playground as Playground
    from appbuilder.components.query_rewrite import QueryRewrite as QueryRewrite
    from appbuilder.core.component import Component as Component
    from appbuilder.core.message import Message as Message
    from appbuilder.runtime.agent_runtime import AgentRuntime as AgentRuntime
    from appbuilder.runtime.chainlit_runtime import ChainlitRuntime as ChainlitRuntime
    from appbuilder.runtime.flask_runtime import FlaskRuntime as FlaskRuntime
    from appbuilder.runtime.service_runtime import ServiceRuntime as ServiceRuntime
    from appbuilder.runtime.user_session import UserSession as UserSession

_HOMES = {
    "AgentBuilder": "appbuilder.components.app_client.client",
    "AgentRuntime": "appbuilder.runtime.agent_runtime",
    "AppBuilderClient": "appbuilder.components.app_client.client",
    "ChainlitRuntime": "appbuilder.runtime.chainlit_runtime",
    "Component": "appbuilder.core.component",
    "FlaskRuntime": "appbuilder.runtime.flask_runtime",
    "Message": "appbuilder.core.message",
    "Playground": "appbuilder.components.playground",
    "QueryRewrite": "appbuilder.components.query_rewrite",
    "ServiceRuntime": "appbuilder.runtime.service_runtime",
    "UserSession": "appbuilder.runtime.user_session",
    "describe_app": "appbuilder.components.app_client.apps",
    "describe_apps": "appbuilder.components.app_client.apps",
    "get_all_apps": "appbuilder.components.app_client.apps",
    "get_app_list": "appbuilder.components.app_client.apps",
}

__all__ = [
    "AgentBuilder",
    "AgentRuntime",
    "AppBuilderClient",
    "ChainlitRuntime",
    "Component",
    "FlaskRuntime",
    "Message",
    "Playground",
    "QueryRewrite",
    "ServiceRuntime",
    "UserSession",
    "__version__",
    "describe_app",
    "describe_apps",
    "get_all_apps",
    "get_app_list",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'appbuilder' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
