"""Event handlers, where the AppBuilder SDK has them."""

from appbuilder.components.app_client.handler import (
    AppBuilderClientRunContext,
    AppBuilderEventHandler,
    ToolCallEventHandler,
)

__all__ = ["AppBuilderClientRunContext", "AppBuilderEventHandler", "ToolCallEventHandler"]
