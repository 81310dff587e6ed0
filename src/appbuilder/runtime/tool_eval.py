"""A tool as a component: what the user says goes to ``tool_eval``, its typed outputs are the answer."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from appbuilder.core.message import Message
from appbuilder.errors import ConfigurationError

_STREAM_NAMES = ("stream", "streaming")


class ToolEval:
    """Answers a message with what *component*'s ``tool_eval`` yields.

    :param query_name: the argument that gets the message.
    :param arguments: further ones.
    :raises ConfigurationError: there is no ``tool_eval``, or it does not take these arguments.
    """

    def __init__(self, component: Any, query_name: str, arguments: Mapping[str, Any]) -> None:
        tool_eval = getattr(component, "tool_eval", None)
        if not callable(tool_eval):
            raise ConfigurationError("The component has no tool_eval to show.")
        if inspect.iscoroutinefunction(tool_eval):
            raise ConfigurationError("tool_eval must yield its outputs: an async one, too, is a generator.")
        self._tool_eval: Callable[..., Any] = tool_eval
        parameters = inspect.signature(tool_eval).parameters
        self._query_name = query_name
        # Tools of the SDK call it one way or the other, and only stream on request.
        told = {name: True for name in _STREAM_NAMES if name in parameters and name not in arguments}
        self._arguments = {**told, **arguments}
        try:
            inspect.signature(tool_eval).bind(**self._arguments, **{query_name: ""})
        except TypeError as error:
            raise ConfigurationError(
                f"tool_eval cannot be called with {', '.join([query_name, *self._arguments])} ({error}): "
                "set query_name and tool_eval_args."
            ) from None

    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        """The tool's outputs, as an iterator."""
        answer = self._tool_eval(**self._arguments, **{self._query_name: message.content})
        if isinstance(answer, Message):
            return answer
        if isinstance(answer, (Iterator, AsyncIterator)):
            return Message(answer)
        return Message(iter(answer if isinstance(answer, list) else [answer]))
