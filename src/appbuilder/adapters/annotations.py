"""What the annotations of a function's parameters ask for."""

from __future__ import annotations

import collections.abc
import inspect
import types
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Annotated, Any, Union, get_args, get_origin, is_typeddict

from appbuilder.core.message import Message

Kind = tuple[tuple[type, ...], str]
_KINDS: Mapping[str, Kind] = {
    "str": ((str,), "a text"),
    "int": ((int,), "a whole number"),
    "float": ((float, int), "a number"),
    "bool": ((bool,), "true or false"),
}
"""By the name of an annotation, which may be text: the types JSON has for it."""
_NO_TEXT = frozenset(
    ("list", "List", "dict", "Dict", "tuple", "Tuple", "set", "int", "float", "bool", "bytes")
)


def parameters_of(function: Callable[..., Any]) -> list[Parameter]:
    """The parameters; annotations that are text are resolved where that works for all of them.

    :raises TypeError, ValueError: the function does not tell them.
    """
    try:
        return list(inspect.signature(function, eval_str=True).parameters.values())
    except Exception:  # noqa: BLE001 - a name that is imported for type checkers only, for instance
        return list(inspect.signature(function).parameters.values())


def kind_of(parameter: Parameter) -> Kind | None:
    """What a member must be; None: whatever it is, the function is to see."""
    annotation = parameter.annotation
    kind = _KINDS.get(annotation if isinstance(annotation, str) else getattr(annotation, "__name__", ""))
    if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
        return None
    # def answer(message, times: int = None) is written where int | None is meant.
    return kind if parameter.default is not None else None


def wants(annotation: Any) -> type[Any] | None:
    """Message or str, where the annotation is one of the two."""
    if isinstance(annotation, str):
        names = {each.rpartition(".")[2] for each in _names(annotation)}
        if names & {"Message", "AnswerMessage"}:
            return Message
        return str if names == {"str"} else None
    kinds = get_args(annotation) or (annotation,)
    if any(inspect.isclass(kind) and issubclass(kind, Message) for kind in (annotation, *kinds)):
        return Message
    return str if annotation is str else None


def takes_text(annotation: Any) -> bool:
    """Whether a text fits, which the message is on the page and in the OpenAI API; a Message always does."""
    if isinstance(annotation, str):
        return bool(set(_names(annotation)) - _NO_TEXT)
    members = _members(annotation)
    if members != (annotation,):
        return any(map(takes_text, members))
    annotation = get_origin(annotation) or annotation
    if is_typeddict(annotation) or annotation is None:
        return False
    if not inspect.isclass(annotation) or annotation in (Parameter.empty, Any):
        return True
    try:
        return issubclass(annotation, (str, Message)) or issubclass(str, annotation)
    except TypeError:  # a protocol with members that are no methods
        return True


def list_form(annotation: Any) -> str | None:
    """How a parameter takes messages: ``dicts``, or ``pairs`` where it is annotated as a list of lists.

    None: it is annotated as something else. Empty: as a list, but of what no message is.
    """
    if isinstance(annotation, str):
        text = annotation.replace(" ", "").lower()
        if not text.startswith(("list", "sequence", "optional[list", "typing.list")):
            return None
        return "pairs" if "[list[" in text or "[tuple" in text else "dicts"
    forms = [_list_form(each) for each in _members(annotation) if each is not types.NoneType]
    return next((form for form in forms if form is not None), None)


def _list_form(annotation: Any) -> str | None:
    if annotation in (Parameter.empty, Any, object):
        return "dicts"
    kind = get_origin(annotation) or annotation
    if not inspect.isclass(kind) or not issubclass(kind, collections.abc.Iterable):
        return None
    if kind is not object and not issubclass(list, kind):
        return None
    elements = _members(next(iter(get_args(annotation)), Any))
    kinds = [get_origin(each) or each for each in elements]
    if any(each in (list, tuple) for each in kinds):
        return "pairs"
    fit = any(each is Any or is_typeddict(each) or (inspect.isclass(each) and issubclass(dict, each))
              for each in kinds)
    return "dicts" if fit else ""


def _members(annotation: Any) -> tuple[Any, ...]:
    """Of a union its members, of ``Annotated[x, ...]`` x, of others themselves."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return _members(annotation.__supertype__) if hasattr(annotation, "__supertype__") else (annotation,)


def _names(annotation: str) -> list[str]:
    return [each.partition("[")[0].strip(" '\"") for each in annotation.split("|")]
