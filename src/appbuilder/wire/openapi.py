"""The OpenAPI document of the seeds' protocol."""

from __future__ import annotations

from typing import Any

from appbuilder._version import __version__
from appbuilder.wire.chat import MAX_ID, MAX_USER_ID, REQUEST_ID_HEADER, TOKEN_HEADERS, USER_ID_HEADER

_ID = {"type": "string", "minLength": 1, "maxLength": MAX_ID, "pattern": r"^[^\x00-\x1f\x7f-\x9f]+$"}
_PROBLEMS = {
    "400": "The request is not what the protocol asks for.",
    "401": "No credential where one is needed, or one that was refused.",
    "404": "There is nothing at this address.",
    "405": "The address exists, the method does not.",
    "409": "Another turn of this session is running.",
    "413": "The body is larger than the limit.",
    "415": "The body is not uncompressed JSON.",
    "429": "Too many requests.",
    "500": "The component failed.",
    "502": "The model server failed.",
    "503": "Overloaded, shutting down, or the database does not answer.",
    "504": "The model server did not answer in time.",
}

_EVENTS = (
    "Server-sent events; the data of each is an Answer with a piece of the text. The last has is_completion "
    "true and no content; of a stream that failed it is a Problem."
)


def document(url_rule: str) -> dict[str, Any]:
    """The document for a service whose chat is at *url_rule*."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "AppBuilder Runtime", "version": __version__},
        "paths": {
            url_rule: {"post": _chat()},
            "/health": {"get": _health()},
            "/openapi.json": {"get": {"summary": "This document", "responses": {"200": _json({})}}},
        },
        "components": {"schemas": _SCHEMAS},
    }


def _chat() -> dict[str, Any]:
    problems = {status: _json(_ref("Problem"), text) for status, text in _PROBLEMS.items()}
    return {
        "summary": "Say something to the component",
        "parameters": [
            _header(REQUEST_ID_HEADER, "The request's id; made by the service if absent.", _ID),
            _header(USER_ID_HEADER, "Who asks.", {**_ID, "maxLength": MAX_USER_ID}),
            *(_header(name, "The caller's AppBuilder token.", {"type": "string"}) for name in TOKEN_HEADERS),
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("ChatRequest")}},
        },
        "responses": {
            "200": {
                "description": "The answer: whole, or with stream=true as events.",
                "content": {
                    "application/json": {"schema": _ref("Answer")},
                    # No type: tools disagree whether the schema is of the text or of one event.
                    "text/event-stream": {"schema": {"description": _EVENTS}},
                },
            },
            **problems,
        },
    }


def _health() -> dict[str, Any]:
    return {
        "summary": "Whether the process takes new turns",
        "responses": {"200": _json({}, "It does."), "503": _json(_ref("Problem"), "It shuts down.")},
    }


def _header(name: str, text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": text, "schema": schema}


def _json(schema: dict[str, Any], text: str = "") -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


_SCHEMAS: dict[str, Any] = {
    "ChatRequest": {
        "type": "object",
        "required": ["message"],
        "properties": {
            "message": {"description": "Anything the component understands."},
            "stream": {"type": "boolean", "default": False},
            "session_id": {**_ID, "description": "The conversation; made by the service if absent."},
        },
        "additionalProperties": {"description": "A keyword argument of the component's run."},
    },
    "Message": {
        "type": "object",
        "properties": {
            "content": {},
            "name": {"type": "string"},
            "mtype": {"type": "string"},
            "id": {"type": "string"},
            "extra": {"type": "object"},
            "token_usage": {"type": "object"},
        },
    },
    "Answer": {
        "type": "object",
        "required": ["code", "message", "result"],
        "properties": {
            "code": {"const": 0},
            "message": {"type": "string"},
            "result": {
                "type": "object",
                "required": ["session_id", "answer_message"],
                "properties": {
                    "session_id": {"type": "string"},
                    "is_completion": {"type": "boolean", "description": "Only in events of a stream."},
                    "answer_message": _ref("Message"),
                },
            },
        },
    },
    "Problem": {
        "type": "object",
        "required": ["code", "message", "request_id", "result"],
        "properties": {
            "code": {"type": "integer", "description": "The HTTP status."},
            "message": {"type": "string"},
            "request_id": {"type": "string"},
            "result": {"type": "null"},
        },
    },
}
