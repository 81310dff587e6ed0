"""What OpenAPI documents are made of; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from appbuilder.wire.chat import MAX_ID

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


def ref(name: str) -> Schema:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def content(schema: Schema, text: str = "", kind: str = "application/json") -> dict[str, Any]:
    """A response with a body."""
    return {"description": text, "content": {kind: {"schema": schema}}}


def problems(*statuses: str) -> dict[str, Any]:
    """The responses that tell of errors."""
    return {status: content(ref("Problem"), PROBLEMS[status]) for status in statuses}


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
