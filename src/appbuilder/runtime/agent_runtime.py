"""AgentRuntime: both runtimes in one, under the name the AppBuilder SDK released."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from appbuilder.core.component import entry
from appbuilder.runtime.chainlit_runtime import ChainlitRuntime
from appbuilder.runtime.flask_runtime import FlaskRuntime
from appbuilder.runtime.user_session import UserSession

if TYPE_CHECKING:
    from appbuilder.serve.page.page_options import Page


def _component(value: Any) -> Any:
    """:raises ValueError: *value* cannot answer a message."""
    from appbuilder.engine.engine import argument_check

    run, _ = entry(value)
    argument_check(run)
    return value


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    component: Annotated[Any, AfterValidator(_component)]
    user_session_config: Any = None
    user_session: UserSession | None = None
    tool_choice: Any = None


class AgentRuntime(FlaskRuntime, ChainlitRuntime):
    """Serves a component over HTTP and behind a chat page.

    Takes the arguments of :class:`appbuilder.runtime.base.Runtime`, by name.

    :raises pydantic.ValidationError: (a ValueError) the component cannot answer a message, or there are
        further arguments.
    """

    def __init__(self, **arguments: Any) -> None:
        valid = _Arguments(**arguments)
        super().__init__(
            valid.component, valid.user_session_config, valid.user_session, valid.tool_choice
        )

    def chainlit_demo(
        self,
        host: str = "0.0.0.0",  # noqa: S104 - the SDK's default
        port: int = 8091,
        *,
        page: Page | None = None,
    ) -> None:
        """The SDK's name for :meth:`chainlit_component`."""
        self.chainlit_component(host, port, page=page)
