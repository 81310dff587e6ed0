"""What OpenAPI documents are made of; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from appbuilder.protocols.chat import (
    EVENTS_HEADER,
    MAX_ID,
    MAX_USER_ID,
    ON_DISCONNECT_HEADER,
    REQUEST_ID_HEADER,
    TOKEN_HEADERS,
    USER_ID_HEADER,
)

Schema = dict[str, Any]

ID: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_ID, "pattern": r"^[^\x00-\x1f\x7f-\x9f]+$"}
TIME: Schema = {"type": "string", "format": "date-time", "description": "In UTC."}

PROBLEMS = {
    "400": "The request is not what the protocol asks for.",
    "401": "No credential where one is needed, or one that was refused.",
    "403": "The caller is known and may not do this.",
    "404": "There is nothing at this address, or nothing the caller may see.",
    "405": "The address exists, the method does not.",
    "409": "Another turn of this session is running.",
    "413": "The body is larger than the limit.",
    "415": "The body is compressed, or of another type.",
    "422": "The request is of the right form, and cannot be done.",
    "429": "Too many requests.",
    "500": "The component failed.",
    "502": "The model server failed.",
    "503": "Overloaded, shutting down, or the database does not answer.",
    "504": "The model server, or the turn, took too long.",
}
_PASSING = ("429", "503")
_LATER = {"description": "Seconds, where it helps to try again.", "schema": {"type": "integer", "minimum": 1}}


def ref(name: str) -> Schema:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def content(schema: Schema, text: str = "", kind: str = "application/json") -> dict[str, Any]:
    """A response with a body."""
    return {"description": text, "content": {kind: {"schema": schema}}}


def problems(*statuses: str, schema: str = "Problem") -> dict[str, Any]:
    """The responses that tell of errors; *schema* is the name of what they hold."""
    return {status: _problem(status, schema) for status in statuses}


def _problem(status: str, schema: str) -> dict[str, Any]:
    found = content(ref(schema), PROBLEMS[status])
    if status in _PASSING:
        found["headers"] = {"Retry-After": _LATER}
    return found


def enveloped(result: Schema, text: str = "") -> dict[str, Any]:
    """A response of the service's own routes."""
    return content(members({"code": {"const": 0}, "message": {"type": "string"}, "result": result}), text)


def members(properties: dict[str, Any], optional: Sequence[str] = ()) -> Schema:
    """An object with these members, all of them there but *optional* ones."""
    needed = [name for name in properties if name not in optional]
    return {"type": "object", "required": needed, "properties": properties}


def body(schema: Schema, kind: str = "application/json") -> dict[str, Any]:
    """A request's body, which must be there."""
    return {"required": True, "content": {kind: {"schema": schema}}}


def parameter(
    place: str, name: str, text: str, schema: Schema, *, required: bool = False
) -> dict[str, Any]:
    """One parameter; *place* is ``query``, ``header`` or ``path``."""
    return {"name": name, "in": place, "required": required, "description": text, "schema": schema}


CALLER_HEADERS = [
    parameter("header", REQUEST_ID_HEADER, "The request's id; made by the service if absent.", ID),
    parameter("header", USER_ID_HEADER, "Who asks.", {**ID, "maxLength": MAX_USER_ID}),
    *(
        parameter("header", name, "The caller's AppBuilder token.", {"type": "string"})
        for name in TOKEN_HEADERS
    ),
]
"""Headers of every turn."""
EVENTS = parameter(
    "header",
    EVENTS_HEADER,
    "A stream shows the events that are not text, too, under their names.",
    {"type": "string", "enum": ["all"]},
)
"""A header of POST /chat."""
ON_DISCONNECT = parameter(
    "header",
    ON_DISCONNECT_HEADER,
    "What becomes of the turn when its reader leaves.",
    {"type": "string", "enum": ["cancel", "continue"]},
)
"""A header of the service's turns."""
