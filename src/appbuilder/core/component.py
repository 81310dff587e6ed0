"""Components: what answers a message."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from appbuilder import jsontext
from appbuilder.core import foreign_answers, foreign_objects
from appbuilder.core.context import current_context
from appbuilder.core.credentials import missing_token
from appbuilder.core.http_client import HttpClient
from appbuilder.core.message import (
    AsyncContentStream,
    ContentStream,
    Message,
    check_members,
    close_async,
    note,
    note_cut,
)
from appbuilder.errors import ComponentError, ConfigurationError, Unauthenticated
from appbuilder.events import Event
from appbuilder.settings import Settings

if TYPE_CHECKING:
    from appbuilder.core.output import (
        Audio,
        Browser,
        Chart,
        Code,
        ComponentOutput,
        Content,
        Files,
        FunctionCall,
        Image,
        ImageDetail,
        Json,
        OralText,
        Plan,
        PlanStep,
        Progress,
        ReasoningContent,
        References,
        Task,
        Text,
        Urls,
        VideoDetail,
    )


class ComponentArguments(BaseModel):
    """What a component says of itself: its name and a description for tool calls."""

    name: str = ""
    tool_desc: dict[str, Any] = {}


class Component:
    """Base of components. Subclass it and implement ``run(message, stream, **args) -> Message``.

    :param meta: name and description.
    :param secret_key: credential for the AppBuilder gateway; default ``APPBUILDER_TOKEN``. None is needed
        to make a component; without any, the error comes when the gateway is used.
    :param gateway: address of the gateway; default ``GATEWAY_URL``.
    :param lazy_certification: True: no credential of its own; each request brings one (header
        ``X-Appbuilder-Token`` or ``X-Appbuilder-Authorization``), visible to that request alone.

    Further keyword arguments of the SDK are accepted and without effect.
    """

    manifests: ClassVar[list[dict[str, Any]]] = []

    # So that a subclass which forgets ``super().__init__()`` works too.
    meta: Any = ComponentArguments()
    secret_key: str | None = None
    gateway: str = ""
    lazy_certification: bool = False
    _http_client: HttpClient | None = None

    def __init__(
        self,
        meta: Any = None,
        secret_key: str | None = None,
        gateway: str = "",
        lazy_certification: bool = False,
        **_sdk_only: Any,
    ) -> None:
        self.meta = ComponentArguments() if meta is None else meta
        self.secret_key = secret_key
        self.gateway = gateway
        self.lazy_certification = lazy_certification

    @property
    def http_client(self) -> HttpClient:
        """For components that call the gateway themselves: ``auth_header``, ``service_url``, ``session``."""
        if self._http_client is None:
            self._http_client = HttpClient(self.credential, self.gateway)
        return self._http_client

    def credential(self) -> str:
        """The credential for a call made now: the current request's, or the component's own.

        :raises Unauthenticated: ``lazy_certification`` is on and the current request brought none.
        :raises ConfigurationError: no credential is set anywhere.
        """
        context = current_context()
        if self.lazy_certification and context is not None and context.in_runtime:
            if not context.credential:
                raise Unauthenticated("Send your AppBuilder token in the header X-Appbuilder-Token.")
            return context.credential
        token = self.secret_key or Settings.load().token
        if not token:
            raise missing_token()
        return token

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """The same as :meth:`run`."""
        return self.run(*inputs, **kwargs)

    def run(self, *inputs: Any, **kwargs: Any) -> Any:
        """Answers one message. To be implemented by the subclass as ``run(message, stream, **args)``.

        :returns: a Message; with ``stream=True`` its content may be an iterator of pieces of text.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement run(message, stream, **args).")

    def batch(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Runs each message in turn; returns the answers in their order."""
        return [self.run(message, **kwargs) for message in args]

    async def arun(self, *inputs: Any, **kwargs: Any) -> Any:
        """:meth:`run` for asynchronous callers. Override it where the component awaits by itself."""
        import asyncio  # a fifth of the time `from appbuilder import Component` takes

        return await asyncio.to_thread(self.run, *inputs, **kwargs)

    async def abatch(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Runs all messages at the same time; returns the answers in the messages' order."""
        import asyncio

        return list(await asyncio.gather(*(self.arun(message, **kwargs) for message in args)))

    def tool_eval(self, *inputs: Any, **kwargs: Any) -> Any:
        """Answers a tool call with typed outputs. To be implemented by components that are tools."""
        raise NotImplementedError(f"{type(self).__name__} does not implement tool_eval.")

    def non_stream_tool_eval(self, *inputs: Any, **kwargs: Any) -> ComponentOutput:
        """All that :meth:`tool_eval` yields, in one output; its role is the last one's."""
        from appbuilder.core import output

        return output.collected(self.tool_eval(*inputs, **kwargs))

    @classmethod
    def create_output(  # noqa: PLR0917 - programs give them by position too
        cls,
        type: str,  # noqa: A002 - the SDK's name
        text: str | dict[str, Any],
        role: str = "tool",
        name: str = "",
        visible_scope: str = "all",
        raw_data: dict[str, Any] | None = None,
        usage: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> ComponentOutput:
        """What ``tool_eval`` yields: one typed piece of its answer.

        :param type: ``text``, ``code``, ``files``, ``urls``, ``oral_text``, ``references``, ``image``,
            ``chart``, ``audio``, ``plan``, ``function_call``, ``json``, ``browser``, ``progress`` or
            ``reasoning_content``.
        :param text: the members of that type's model in ``appbuilder.core.output``; for ``text``, ``code``,
            ``urls``, ``oral_text``, ``json`` and ``reasoning_content`` a string does.
        :param role: ``tool``, or ``assistant`` where the piece is an answer of its own.
        :param name: the stage the piece belongs to; of several progress bars, which.
        :param visible_scope: ``all``, ``user`` or ``llm``: for whom it is.
        :param raw_data: what the tool received; *usage*: tokens; *metrics*: times and sizes.
        :raises ValueError: the type or role is unknown, a member is missing or of a wrong type.
        """
        from appbuilder.core import output

        return output.create_output(
            type, text, role=role, name=name, visible_scope=visible_scope,
            raw_data=raw_data, usage=usage, metrics=metrics,
        )  # fmt: skip

    def tool_desc(self) -> list[str]:
        """The manifests as JSON texts, non-ASCII text not escaped."""
        return [json.dumps(manifest, ensure_ascii=False) for manifest in self.manifests]

    def tool_name(self) -> list[str]:
        """The names in the manifests."""
        return [manifest["name"] for manifest in self.manifests]


def entry(component: Any) -> tuple[Callable[..., Any], bool]:
    """What answers a message, and whether it belongs on an event loop.

    That is ``run``; or ``arun`` where the component has one and no ``run`` of its own.

    :raises ConfigurationError: it has neither, or it is an object of another framework.
    """
    foreign_objects.check(component)
    run: Any = getattr(component, "run", None)
    arun: Any = getattr(component, "arun", None)
    if _own(arun, Component.arun) and not _own(run, Component.run):
        return arun, True
    if not callable(run):
        raise ConfigurationError(
            "component must be a Component, or have a method run(message, stream, **args)."
        )
    return run, inspect.iscoroutinefunction(run) or inspect.isasyncgenfunction(run)


OURS = ("message", "stream")
"""The arguments every ``run`` takes; further ones are the component's own."""


def parameters_of(run: Callable[..., Any]) -> frozenset[str]:
    """The names of the further arguments *run* takes, those it takes by ``**kwargs`` left out."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(run).parameters.values()
    return frozenset(each.name for each in parameters if each.kind in named and each.name not in OURS)


def as_answer(value: Any) -> Message[Any]:
    """What a component returned, as a message. Of another library's answer its text.

    :raises ComponentError: it returned nothing, or something that is still to be awaited.
    :raises AnswerError: it returned what is neither text nor JSON; the text names its type.
    """
    if type(value) is str:
        return _noted(Message(value if jsontext.is_clean(value) else jsontext.clean(value)))
    if isinstance(value, Message):
        _read_content(value)
        check_members(value)
        return _noted(value)
    if isinstance(value, Event):
        value = iter((value,))
    if value is None:
        raise ComponentError("The component returned nothing.")
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise ComponentError("The component returned what is to be awaited: write `async def run`.")
    answer: Message[Any] = Message(_stream_of(foreign_answers.unwrapped(value)))
    _read_content(answer)
    return _noted(answer)


def _noted(answer: Message[Any]) -> Message[Any]:
    if isinstance(answer.content, str):
        note_cut(answer, (answer.content,))
    return answer


def _read_content(answer: Message[Any]) -> None:
    content = answer.content
    if isinstance(content, str):
        if not jsontext.is_clean(content):
            answer.content = jsontext.clean(content)
        return
    if isinstance(content, (bytes, bytearray, memoryview, ContentStream, AsyncContentStream)):
        return  # bytes are text, as those of a stream
    found = foreign_answers.read_answer(content)
    if found is None:
        jsontext.dumps(content)  # now, while the caller can still get a status
        return
    if found.tools:
        raise foreign_answers.unhandled(found.tools)
    answer.content = found.text
    note(answer, found)


def _stream_of(value: Any) -> Any:
    """An iterator, where *value* is a stream that only makes one: it is closed with it."""
    if isinstance(value, (Iterator, AsyncIterator, BaseModel, str)):
        return value
    if isinstance(value, AsyncIterable):
        return _closing_async(value)
    return _closing(value) if isinstance(value, Iterable) and hasattr(value, "close") else value


def _closing(stream: Any) -> Iterator[Any]:
    try:
        yield from stream
    finally:
        stream.close()


async def _closing_async(stream: Any) -> AsyncIterator[Any]:
    try:
        async for piece in stream:
            yield piece
    finally:
        await close_async(stream)


def _own(method: Any, inherited: Any) -> bool:
    return callable(method) and getattr(method, "__func__", method) is not inherited


def __getattr__(name: str) -> Any:
    # Programs import the output models from here; to make them takes longer than all else in core.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("appbuilder.core.output"), name)


__all__ = [
    "OURS",
    "Audio",
    "Browser",
    "Chart",
    "Code",
    "Component",
    "ComponentArguments",
    "ComponentOutput",
    "Content",
    "Files",
    "FunctionCall",
    "Image",
    "ImageDetail",
    "Json",
    "Message",
    "OralText",
    "Plan",
    "PlanStep",
    "Progress",
    "ReasoningContent",
    "References",
    "Task",
    "Text",
    "Urls",
    "VideoDetail",
    "as_answer",
    "entry",
    "parameters_of",
]  # fmt: skip
