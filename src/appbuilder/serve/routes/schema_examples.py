"""A value that a JSON schema may stand for, as short as it gets; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DEEPEST = 8
_PLAIN: Mapping[str, Any] = {
    "string": "text", "integer": 1, "number": 1, "boolean": True, "null": None, "array": [], "object": {},
}


def example_of(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int = 0) -> Any:
    """A value for *schema*: its example or default where it has one, of an object the required members.

    :param document: the OpenAPI document that holds the schemas it refers to.
    """
    if depth > _DEEPEST:
        return None
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return example_of(document, document["components"]["schemas"][name], depth + 1)
    for word in ("example", "const", "default"):
        if word in schema:
            return schema[word]
    if "enum" in schema:
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return example_of(document, schema[choice][0], depth + 1)
    return _of_kind(document, schema, depth)


def _of_kind(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind if isinstance(kind, str) else kind[0]
    if kind == "object":
        members, needed = schema.get("properties", {}), schema.get("required", ())
        return {name: example_of(document, members.get(name, {}), depth + 1) for name in needed}
    if kind == "array" and schema.get("minItems"):
        return [example_of(document, schema.get("items", {}), depth + 1)]
    return _PLAIN.get(kind)
