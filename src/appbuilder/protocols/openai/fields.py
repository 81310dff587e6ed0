"""Members of a request body, each with the type it must have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appbuilder.errors import InvalidRequest, NotFound
from appbuilder.protocols.chat import checked_id

_SHOWN = 100
"""Characters of what a caller sent that an error repeats."""


def text(body: Mapping[str, Any], name: str) -> str | None:
    """A member that is a string; None where it is null or absent.

    :raises InvalidRequest: it is something else.
    """
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise invalid_field(name, "a string")
    return value


def session_of(body: Mapping[str, Any]) -> str | None:
    """The session a body names, whose parameters were checked: ``session_id``, or ``metadata.session_id``.

    :raises InvalidRequest: it is no id.
    """
    named, where = body.get("session_id"), "session_id"
    if named is None:
        named, where = (body.get("metadata") or {}).get("session_id"), "metadata.session_id"
    return None if named is None else checked_id(named, where)


def check_model(body: Mapping[str, Any], model: str) -> None:
    """Whether the request is for *model*.

    :raises InvalidRequest: it names none.
    :raises NotFound: it names another.
    """
    named = text(body, "model")
    if not named:
        raise InvalidRequest("The member 'model' is required.", param="model")
    if named != model:
        raise NotFound(
            f"The model {named[:_SHOWN]!r} does not exist; this service has {model!r}.", param="model"
        )


LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""Names of one thing: how many tokens an answer may have."""


def extra_arguments(body: Mapping[str, Any], takes: frozenset[str], **made: Any) -> dict[str, Any]:
    """The arguments for a component's ``run``: members of the body it takes by their name, and *made*.

    A limit of tokens is passed under whichever of its names the component takes. What is null is left out.
    """
    found = {name: value for name, value in body.items() if name in takes and value is not None}
    limit = next((int(body[name]) for name in LIMITS if body.get(name) is not None), None)
    for name in LIMITS:
        if limit is not None and name in takes:
            found[name] = int(found.get(name, limit))
    for name, value in made.items():
        found.pop(name, None)
        if name in takes and value:
            found[name] = value
    return found


def invalid_field(name: str, wanted: str) -> InvalidRequest:
    """The error of a member of a wrong type or value."""
    return InvalidRequest(f"The member {name!r} must be {wanted}.", param=name)
