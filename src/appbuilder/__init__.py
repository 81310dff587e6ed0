"""AppBuilder Runtime: a Python object that answers a message, as a service people can rely on.

Names load when they are first used, so that ``import appbuilder`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from appbuilder._version import __version__

if TYPE_CHECKING:
    from appbuilder.components.playground import Playground as Playground
    from appbuilder.components.query_rewrite import QueryRewrite as QueryRewrite
    from appbuilder.core.agent import AgentRuntime as AgentRuntime
    from appbuilder.core.component import Component as Component
    from appbuilder.core.message import Message as Message
    from appbuilder.core.user_session import UserSession as UserSession
    from appbuilder.utils.chainlit_deploy import ChainlitRuntime as ChainlitRuntime
    from appbuilder.utils.flask_deploy import FlaskRuntime as FlaskRuntime

_HOMES = {
    "AgentRuntime": "appbuilder.core.agent",
    "ChainlitRuntime": "appbuilder.utils.chainlit_deploy",
    "Component": "appbuilder.core.component",
    "FlaskRuntime": "appbuilder.utils.flask_deploy",
    "Message": "appbuilder.core.message",
    "Playground": "appbuilder.components.playground",
    "QueryRewrite": "appbuilder.components.query_rewrite",
    "UserSession": "appbuilder.core.user_session",
}

__all__ = [
    "AgentRuntime",
    "ChainlitRuntime",
    "Component",
    "FlaskRuntime",
    "Message",
    "Playground",
    "QueryRewrite",
    "UserSession",
    "__version__",
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
