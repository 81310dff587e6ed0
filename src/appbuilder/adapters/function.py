"""Whatever answers a message, as a component: functions, generators, async ones too, classes, objects."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any

from appbuilder.adapters import session_history
from appbuilder.adapters.annotations import Kind, kind_of, list_form, parameters_of, takes_text, wants
from appbuilder.core import foreign_objects
from appbuilder.core.component import Component, ComponentArguments, as_answer, entry
from appbuilder.core.context import current_context
from appbuilder.core.message import AsyncContentStream, ContentStream, Message
from appbuilder.errors import ConfigurationError, InvalidRequest
from appbuilder.jsontext import type_name

_KEPT_BACK = {
    "message": "give it another name",
    "session_id": "the session's id is get_context().session_id, from appbuilder.core.context",
}
"""Members of a request that are never arguments; what to do instead of naming a parameter so."""
_WRITE = "write def answer(message: str) -> str, or a class with run(message, stream, **args)"


def as_component(thing: Any, name: str = "") -> Any:
    """What the engine can run, made of anything that answers.

    :param thing: a component or a class of one, which is made with no arguments; any object or class with
        ``run`` or ``arun``; or something that can be called with a message: a function, a generator function,
        either with ``async``, a lambda, ``functools.partial``, a bound method, an object with ``__call__``.
        See :class:`Function` for what it is called with.
    :param name: what it is called where it has no name of its own.
    :raises ConfigurationError: it cannot answer; the sentence says what to write. What the constructor of a
        class raises is passed on.
    """
    foreign_objects.check(thing, name)
    if inspect.isclass(thing):
        thing, name = _made(thing), thing.__name__
    if isinstance(thing, Component):
        entry(thing)
        return thing
    if callable(getattr(thing, "run", None)) or callable(getattr(thing, "arun", None)):
        return _of_object(thing, name or type(thing).__name__)
    if callable(thing):
        return Function(thing, _name_of(thing, name))
    raise ConfigurationError(f"{_called(name, thing)} cannot answer a message: {_WRITE}.")


class Function(Component):
    """A function as a component.

    Its first parameter gets the message's content, or the Message itself where it is annotated so. A
    parameter ``history`` gets what was said in the session before, ``messages`` that and the message, each a
    list of dicts with ``role`` and ``content``; ``stream``, whether a stream was asked for. All others are
    members of the request, those without a default required ones. What ``functools.partial`` has bound by
    name is no request's to change.

    The answer is what the function returns: a Message or any content. An iterator, synchronous or not, is a
    stream of pieces; where none was asked for it comes whole.

    :raises ConfigurationError: there is no parameter for the message, or one that no request can fill.
    """

    def __init__(self, function: Callable[..., Any], name: str, *, as_message: bool = False) -> None:
        """:param as_message: the first parameter gets the Message, however it is annotated."""
        super().__init__(meta=ComponentArguments(name=name))
        self.name = name
        self.function = function
        self._call = _Call(function, name, as_message=as_message)
        # Functions of their own, so that each can have the signature by which the engine checks requests.
        if _is_async(function):
            self.arun = _with_signature(self._answer_async, self._call.signature)  # type: ignore[method-assign]
        else:
            self.run = _with_signature(self._answer, self._call.signature)  # type: ignore[method-assign]

    def _answer(self, message: Any, stream: bool, args: Mapping[str, Any]) -> Message[Any]:
        call = self._call
        answer = as_answer(call(message, stream, call.completed(message, args)))
        call.remember(message, answer)
        if isinstance(answer.content, ContentStream) and _wanted_whole(stream):
            for _ in answer.content:
                pass
        return answer

    async def _answer_async(self, message: Any, stream: bool, args: Mapping[str, Any]) -> Message[Any]:
        call = self._call
        if call.takes_dialogue:
            args = await asyncio.to_thread(call.completed, message, args)
        returned = call(message, stream, args)
        answer = as_answer(await returned if inspect.isawaitable(returned) else returned)
        call.remember(message, answer)
        if isinstance(answer.content, AsyncContentStream) and _wanted_whole(stream):
            async for _ in answer.content:
                pass
        return answer


def _wanted_whole(stream: bool) -> bool:
    """Whether a stream is to be read to its end here. In a runtime the engine does, and can stop it."""
    context = current_context()
    return not stream and (context is None or not context.in_runtime)


class _Call:
    """How a function is called for a message."""

    def __init__(self, function: Callable[..., Any], name: str, *, as_message: bool) -> None:
        self._function = function
        self._bound = _bound_by_name(function)
        parameters = [each for each in _parameters(function, name) if each.name not in self._bound]
        if not parameters or parameters[0].kind is Parameter.VAR_KEYWORD:
            raise ConfigurationError(f"{name} takes no message: {_WRITE}.")
        first, others = parameters[0], parameters[1:]
        positional = (Parameter.VAR_POSITIONAL, Parameter.POSITIONAL_ONLY)
        for each in others:
            if advice := _unfilled(each):
                raise ConfigurationError(
                    f"{name}: no request can fill the parameter {each.name!r}: {advice}."
                )
        self._first_name = first.name if first.kind is Parameter.KEYWORD_ONLY else None
        self._wants = Message if as_message else wants(first.annotation)
        self._dialogue = {each.name: form for each in parameters if (form := _form(each, first, name))}
        self._first_is_messages = first.name in self._dialogue
        if not self._first_is_messages:
            _check_first(first, name)
        others = [each for each in others if each.name not in self._dialogue]
        self._takes_stream = any(each.name == "stream" for each in others)
        kinds = {each.name: kind_of(each) for each in others}
        self._kinds: dict[str, Kind] = {each: kind for each, kind in kinds.items() if kind is not None}
        self.signature = inspect.Signature([
            Parameter("message", Parameter.KEYWORD_ONLY),
            Parameter("stream", Parameter.KEYWORD_ONLY, default=False),
            *(each.replace(kind=_by_name(each.kind)) for each in others
              if each.name != "stream" and each.kind not in positional),
            *(Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in self._sendable()),
        ])

    @property
    def takes_dialogue(self) -> bool:
        """Whether it wants to know what was said before."""
        return bool(self._dialogue)

    def _sendable(self) -> list[str]:
        """What a client may send of the conversation: it takes the place of the session's."""
        return [session_history.HISTORY, session_history.MESSAGES] if self._dialogue else []

    def completed(self, message: Any, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """*args* with what was said before, where the function takes it; may block."""
        if not self._dialogue:
            return args
        filled = session_history.filled(self._dialogue, _content(message), args)
        rest = {name: value for name, value in args.items() if name not in self._sendable()}
        return rest | filled

    def remember(self, message: Any, answer: Message[Any]) -> None:
        """Keeps the turn for the next one, where the function takes that and the runtime keeps none."""
        if self._dialogue:
            session_history.remember(_content(message), answer)

    def __call__(self, message: Any, stream: bool, args: Mapping[str, Any]) -> Any:
        taken = self._bound & set(args)
        if taken:
            raise InvalidRequest(f"The service takes no member {min(taken)!r}.")
        for name, (kinds, called) in self._kinds.items():
            if name in args and not _is_of(args[name], kinds):
                raise InvalidRequest(f"The member {name!r} must be {called}.", param=name)
        named = {**args, "stream": stream} if self._takes_stream else dict(args)
        given = named.pop(session_history.MESSAGES) if self._first_is_messages else self._given(message)
        if self._first_name is not None:
            return self._function(**{self._first_name: given}, **named)
        return self._function(given, **named)

    def _given(self, message: Any) -> Any:
        if self._wants is Message:
            return message if isinstance(message, Message) else Message(message)
        content = _content(message)
        if self._wants is str and not isinstance(content, str):
            raise InvalidRequest("The member 'message' must be a text.")
        return content


def _content(message: Any) -> Any:
    return message.content if isinstance(message, Message) else message


def _check_first(first: Parameter, name: str) -> None:
    """:raises ConfigurationError: the first parameter is not for the message."""
    framework = foreign_objects.framework_of(first.annotation) if inspect.isclass(first.annotation) else None
    if framework is not None:
        raise ConfigurationError(
            f"{name} takes a {type_name(first.annotation)}, so it is for {framework.called}: "
            "write a function def answer(message: str) that does the same, and serve that."
        )
    if first.name == session_history.HISTORY or not takes_text(first.annotation):
        raise ConfigurationError(
            f"{name}: the first parameter gets the message, which is a text on the page and in the OpenAI "
            "API: write message: str, messages: list for the whole conversation, or message: Message for "
            "whatever JSON is sent."
        )


def _form(parameter: Parameter, first: Parameter, name: str) -> str | None:
    """How a parameter takes what was said before, see :func:`list_form`; None: it is for something else.

    :raises ConfigurationError: it is a list of what no message is, or a required one of another type.
    """
    known = (
        (session_history.MESSAGES,)
        if parameter is first
        else (session_history.HISTORY, session_history.MESSAGES)
    )
    if parameter.name not in known or parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
        return None
    form = list_form(parameter.annotation)
    required = parameter is not first and parameter.default is Parameter.empty
    if form == "" or (form is None and required):
        raise ConfigurationError(
            f"{name}: {parameter.name!r} gets dicts with role and content: "
            f"write {parameter.name}: list[dict]."
        )
    return form


def _is_of(value: Any, kinds: tuple[type, ...]) -> bool:
    # For Python true and false are whole numbers.
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _unfilled(parameter: Parameter) -> str:
    """What to do about a parameter, not the first one, that no request can fill; empty: one can."""
    if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
        return ""
    if parameter.kind is Parameter.POSITIONAL_ONLY and parameter.default is Parameter.empty:
        return "give it no place before a '/'"
    return _KEPT_BACK.get(parameter.name, "")


def _with_signature(answer: Callable[..., Any], signature: inspect.Signature) -> Any:
    """*answer* as ``run``, of its kind, with this signature."""
    if inspect.iscoroutinefunction(answer):

        async def arun(message: Any = None, stream: bool = False, **args: Any) -> Any:
            return await answer(message, stream, args)

        run: Any = arun
    else:

        def run(message: Any = None, stream: bool = False, **args: Any) -> Any:
            return answer(message, stream, args)

    run.__signature__ = signature
    return run


def _made(kind: type[Any]) -> Any:
    """An object of a class."""
    try:
        inspect.signature(kind).bind()
    except TypeError:
        raise ConfigurationError(
            f"The class {kind.__name__} cannot be made without arguments: make one, "
            f"as agent = {kind.__name__}(...), and name that."
        ) from None
    except ValueError:
        pass  # a class written in C tells nothing of its arguments
    return kind()


def _of_object(thing: Any, name: str) -> Any:
    """An object that is no Component; its ``run`` may take what a function takes."""
    run, _ = entry(thing)
    parameters = _parameters(run, f"{name}.run")
    variadic = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    named = {each.name for each in parameters if each.kind not in variadic}
    takes_any = any(each.kind is Parameter.VAR_KEYWORD for each in parameters)
    ours = {"message", "stream"}
    if ours <= named and named & {session_history.HISTORY, session_history.MESSAGES}:
        return Function(run, name, as_message=True)
    return thing if ours <= named or (takes_any and named <= ours) else Function(run, name)


def _parameters(function: Callable[..., Any], name: str) -> list[Parameter]:
    try:
        return parameters_of(function)
    except (TypeError, ValueError):  # written in C
        raise ConfigurationError(f"{name} does not tell what it takes: {_WRITE}.") from None


def _bound_by_name(function: Any) -> frozenset[str]:
    bound: frozenset[str] = frozenset()
    while isinstance(function, functools.partial):
        bound |= set(function.keywords)
        function = function.func
    return bound


def _by_name(kind: Any) -> Any:
    return kind if kind is Parameter.VAR_KEYWORD else Parameter.KEYWORD_ONLY


def _is_async(function: Any) -> bool:
    """Whether calling it gives something to await, or to iterate asynchronously.

    A decorator that is no coroutine function passes on what the function it stands for returns.
    """
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    return any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each)
               for each in (function, inspect.unwrap(function)))


def _name_of(function: Any, otherwise: str) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = str(getattr(function, "__name__", None) or type(function).__name__)
    return name if name != "<lambda>" else otherwise or "answer"


def _called(name: str, thing: Any) -> str:
    return f"{name} ({type(thing).__name__})" if name else f"A {type(thing).__name__}"
