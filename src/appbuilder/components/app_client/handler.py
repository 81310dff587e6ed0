"""Event handlers: a dialogue that runs by itself, and calls a program's own functions on its way.

Names and hooks are the AppBuilder SDK's. A run is over when it does not wait for a tool's output; the SDK
asks again until it sees the status ``success``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from types import TracebackType
from typing import Any, Self

from appbuilder.components.app_client.schemas import (
    INTERRUPTED,
    AppBuilderClientAnswer,
    Event,
    ToolCall,
    ToolOutput,
    checked,
)
from appbuilder.core.message import Message, text_of
from appbuilder.errors import ConfigurationError, InvalidRequest
from appbuilder.logs import logger

_HOOKS = ("preparing", "running", "error", "done", "interrupt", "success")


class AppBuilderClientRunContext:
    """What a hook receives besides the answer: its last event, and what the application wants."""

    def __init__(self) -> None:
        self.current_event: Event | None = None
        self.current_tool_calls: list[ToolCall] | None = None
        self.current_status: str | None = None
        self.need_tool_submit = False
        self.is_complete = False
        self.current_thought = ""


class AppBuilderEventHandler:
    """Runs a dialogue; subclasses override the hooks.

    Iterated over (once for each dialogue) it yields answers: of a stream
    :class:`~.data.AppBuilderClientAnswer`, else Messages that hold one. For each, first ``handle_event_type``
    and ``handle_content_type`` are called, then the hook named as the status of the last event; all with a
    :class:`AppBuilderClientRunContext` and the answer. ``interrupt`` returns what the tools said.
    """

    _client: Any = None
    _iterator: Iterator[Any] = iter(())

    def __init__(self) -> None:
        """For subclasses; a dialogue begins with :meth:`init`."""

    def init(  # noqa: PLR0917 - programs give them by position too
        self,
        appbuilder_client: Any,
        conversation_id: str,
        query: str,
        file_ids: Sequence[str] | None = None,
        tools: Sequence[Any] | None = None,
        stream: bool = False,
        event_handler: Any = None,
        action: Any = None,
        **kwargs: Any,
    ) -> None:
        """Sets up the first dialogue. Nothing is sent before the handler is iterated over.

        :param appbuilder_client: the client; the others are arguments of its ``run``.
        """
        self._client = appbuilder_client
        self._conversation_id = conversation_id
        self._query = query
        self._stream = stream
        self._begin(file_ids, tools, action, kwargs)

    def new_dialog(  # noqa: PLR0917
        self,
        query: str | None = None,
        file_ids: Sequence[str] | None = None,
        tools: Sequence[Any] | None = None,
        action: Any = None,
        stream: bool | None = None,
        event_handler: Any = None,
        **kwargs: Any,
    ) -> None:
        """Sets up the next dialogue in the same conversation. *query* and *stream* stay where not given.

        :raises ConfigurationError: (a ValueError) there was none before.
        """
        if self._client is None:
            raise ConfigurationError("Begin with init(...), or with the client's run_with_handler(...).")
        self._query = query or self._query
        self._stream = stream or self._stream
        self._begin(file_ids, tools, action, kwargs)

    def reset_state(self) -> None:
        """Forgets client and dialogue."""
        self._client = None
        self._iterator = iter(())

    def until_done(self) -> None:
        """Runs the dialogue to its end. Raises what the client's ``run`` and the hooks raise."""
        for _ in self._iterator:
            pass

    def __iter__(self) -> Iterator[Any]:
        return self._iterator

    def __next__(self) -> Any:
        return next(self._iterator)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close: Callable[[], None] | None = getattr(self._iterator, "close", None)
        if close is not None:
            close()

    # What subclasses override. As in the SDK, a hook may be left out.

    def handle_content_type(self, run_context: AppBuilderClientRunContext, run_response: Any) -> Any:
        """Is called for every answer."""

    def handle_event_type(self, run_context: AppBuilderClientRunContext, run_response: Any) -> Any:
        """Is called for every answer, first of all."""

    def preparing(self, run_context: AppBuilderClientRunContext, run_response: Any) -> Any:
        """A step is about to run."""

    def running(self, run_context: AppBuilderClientRunContext, run_response: Any) -> Any:
        """A step says something."""

    def done(self, run_context: AppBuilderClientRunContext, run_response: Any) -> Any:
        """A step has ended."""

    def error(self, run_context: AppBuilderClientRunContext, run_response: Any) -> Any:
        """A step has failed; the event says why."""

    def success(self, run_context: AppBuilderClientRunContext, run_response: Any) -> Any:
        """The run has ended."""

    def interrupt(self, run_context: AppBuilderClientRunContext, run_response: Any) -> Any:
        """The application waits for ``run_context.current_tool_calls``.

        :returns: their outputs: a list of :class:`~.data.ToolOutput`, or of dicts of the same members.
        """

    def _take(self, answer: AppBuilderClientAnswer) -> None:
        """Sees every answer, before the hooks."""

    def _begin(
        self,
        file_ids: Sequence[str] | None,
        tools: Sequence[Any] | None,
        action: Any,
        further: dict[str, Any],
    ) -> None:
        self._file_ids = file_ids
        self._further = further
        first = {"query": self._query, "tools": tools, "action": action}
        self._iterator = self._dialogue(first)

    def _dialogue(self, arguments: dict[str, Any]) -> Iterator[Any]:
        further = self._further
        while arguments:
            answer = self._client.run(
                conversation_id=self._conversation_id, file_ids=self._file_ids, stream=self._stream,
                **further, **arguments,
            )  # fmt: skip
            outputs: list[Any] | None = None
            with closing(answer.content) if self._stream else nullcontext():
                for piece, said in _pieces(answer, self._stream):
                    self._take(piece)
                    if piece.events:
                        outputs = self._dispatch(piece) or outputs
                        yield said
            # The tool that was to be used has been; to demand it again would never end.
            further = {name: value for name, value in further.items() if name != "tool_choice"}
            arguments = {} if outputs is None else {"tool_outputs": outputs}

    def _dispatch(self, answer: AppBuilderClientAnswer) -> list[Any] | None:
        """Calls the hooks; returns the outputs of tools, where the application waits for some."""
        context = _context_of(answer)
        self.handle_event_type(context, answer)
        self.handle_content_type(context, answer)
        if context.current_status not in _HOOKS:
            logger.debug("an application's event has an unknown status")
            return None
        result = getattr(self, str(context.current_status))(context, answer)
        # A workflow that asks its user waits for no tool.
        asks = answer.events[-1].content_type == INTERRUPTED
        return _outputs(result) if context.need_tool_submit and not asks else None


class ToolCallEventHandler(AppBuilderEventHandler):
    """Answers tool calls with the functions it is given, each known by its name.

    ``result`` is the text of the answer, as far as it has come.
    """

    def __init__(self, functions: Sequence[Callable[..., Any]]) -> None:
        super().__init__()
        self.functions = functions
        self.result = ""

    def reset_state(self) -> None:
        """Forgets client, dialogue and result."""
        super().reset_state()
        self.result = ""

    def interrupt(self, run_context: AppBuilderClientRunContext, run_response: Any) -> list[dict[str, str]]:
        """Calls the functions that are asked for; what is no text goes back as JSON.

        One that is not among them has an empty output. Raises what a function raises.
        """
        named = {function.__name__: function for function in self.functions}
        outputs = []
        for call in run_context.current_tool_calls or ():
            function = named.get(call.function.name)
            if function is None:
                logger.error("the application asks for a function it was not given")
            output = "" if function is None else text_of(function(**call.function.arguments))
            outputs.append({"tool_call_id": call.id, "output": output})
        return outputs

    def _take(self, answer: AppBuilderClientAnswer) -> None:
        self.result = self.result + answer.text if self._stream else answer.text

    def _begin(
        self,
        file_ids: Sequence[str] | None,
        tools: Sequence[Any] | None,
        action: Any,
        further: dict[str, Any],
    ) -> None:
        self.result = ""
        super()._begin(file_ids, tools, action, further)


def _pieces(answer: Message[Any], stream: bool) -> Iterator[tuple[AppBuilderClientAnswer, Any]]:
    """The pieces of an answer, each with what the handler yields for it."""
    if stream:
        yield from ((piece, piece) for piece in answer.content)
    elif answer.content.events:
        yield answer.content, answer
    else:  # the hooks need one to look at
        yield answer.content.model_copy(update={"events": [Event(status="success")]}), answer


def _context_of(answer: AppBuilderClientAnswer) -> AppBuilderClientRunContext:
    context = AppBuilderClientRunContext()
    event = answer.events[-1]
    context.current_event = event
    context.current_tool_calls = event.tool_calls
    context.current_status = event.status
    context.need_tool_submit = event.status == "interrupt"
    context.is_complete = event.status == "success"
    context.current_thought = _thought(answer)
    return context


def _thought(answer: AppBuilderClientAnswer) -> str:
    """Why the application calls a function: in its event, or said in the first."""
    said = answer.events[-1].detail.get("text")
    if isinstance(said, str):
        return ""
    call = said.get("function_call") if isinstance(said, dict) else None
    thought = call.get("thought") if isinstance(call, dict) else None
    first = answer.events[0].detail.get("text")
    return next((text for text in (thought, first) if isinstance(text, str) and text), "")


def _outputs(result: Any) -> list[ToolOutput]:
    """:raises ConfigurationError: a hook's *result* is no list of outputs."""
    if not isinstance(result, list) or not result:
        raise ConfigurationError("interrupt() must return the outputs of the tools: a list of ToolOutput.")
    try:
        return [checked(ToolOutput, output, "interrupt()") for output in result]
    except InvalidRequest as error:
        raise ConfigurationError(str(error)) from None
