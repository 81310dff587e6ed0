"""The OpenAPI documents: of the SDK's protocol, and of the service with all its protocols."""

from __future__ import annotations

from typing import Any

from appbuilder._version import __version__
from appbuilder.protocols.openai import openapi_paths as openai
from appbuilder.protocols.openapi import sessions
from appbuilder.protocols.openapi.parts import (
    CALLER_HEADERS,
    EVENTS,
    ID,
    ON_DISCONNECT,
    body,
    content,
    enveloped,
    members,
    problems,
    ref,
)

_VERSION = "3.1.0"
_EVENTS = (
    "Server-sent events; the data of each is an Answer with a piece of the text. The last has is_completion "
    "true and no content; of a stream that failed it is a Problem."
)
_PROBLEMS = ("400", "401", "404", "405", "409", "413", "415", "429", "500", "502", "503", "504")


def document(url_rule: str) -> dict[str, Any]:
    """The document for FlaskRuntime, whose chat is at *url_rule*."""
    return {
        "openapi": _VERSION,
        "info": {"title": "AppBuilder Runtime", "version": __version__},
        "paths": {
            url_rule: {"post": _chat()},
            "/health": {"get": _health()},
            "/openapi.json": {"get": {"summary": "This document", "responses": {"200": content({})}}},
        },
        "components": {"schemas": _SCHEMAS},
    }


def service_document(name: str) -> dict[str, Any]:
    """The document of the service of a component.

    :param name: the component's.
    """
    return {
        "openapi": _VERSION,
        "info": {"title": name, "version": __version__, "description": _ABOUT},
        "tags": [{"name": tag, "description": text} for tag, text in _TAGS.items()],
        "security": [{}, {"bearer": []}, {"key": []}],
        "paths": {
            "/chat": {"post": _service_chat()},
            **openai.paths(name),
            **sessions.PATHS,
            **_status_paths(),
        },
        "components": {
            "schemas": {**_SCHEMAS, **openai.SCHEMAS, **sessions.SCHEMAS},
            "securitySchemes": _SECURITY,
        },
    }


_ABOUT = (
    "Every answer but those of `/v1` and `/metrics` is an object with `code` (0, or the status of an "
    "error), `message` and `result`. A session is the same over every protocol."
)
_TAGS = {
    "Chat": "One turn: a message and its answer, whole or as a stream.",
    "OpenAI": "The same as OpenAI's clients do it; errors are OpenAI's too.",
    "Sessions": "Conversations: the caller's own; administrators see everybody's.",
    "Runs": "Turns under way, in all workers.",
    "Service": "Whether it is there, and what it can do.",
}
_SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`appbuilder keys add`) or a JSON Web Token, if the service asks for one.",
    },
    "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "An API key, likewise."},
}


def _chat() -> dict[str, Any]:
    return {
        "summary": "Say something to the component",
        "parameters": [*CALLER_HEADERS, EVENTS],
        "requestBody": body(ref("ChatRequest")),
        "responses": {
            "200": {
                "description": "The answer: whole, or with stream=true as events.",
                "content": {
                    "application/json": {"schema": ref("Answer")},
                    # No type: tools disagree whether the schema is of the text or of one event.
                    "text/event-stream": {"schema": {"description": _EVENTS}},
                },
            },
            **problems(*_PROBLEMS),
        },
    }


def _service_chat() -> dict[str, Any]:
    chat = _chat()
    chat["parameters"].append(ON_DISCONNECT)
    chat["responses"].update(problems("403"))
    return {"tags": ["Chat"], "operationId": "chat", **chat}


def _health() -> dict[str, Any]:
    return {
        "summary": "Whether the process takes new turns",
        "responses": {"200": content({}, "It does."), **problems("503")},
    }


def _status_paths() -> dict[str, Any]:
    well = enveloped(members({"status": {"const": "ok"}}), "It is well.")
    html = content({"type": "string"}, "A page.", "text/html")
    metrics = content({"type": "string"}, "In Prometheus's text format.", "text/plain")
    return {
        "/health": _chat_request("health", "Whether the process takes new turns", well, "503"),
        "/ready": _chat_request("ready", "Whether it does, and a turn could be stored", well, "503"),
        "/metrics": _chat_request("metrics", "Numbers for Prometheus", metrics, "404"),
        "/openapi.json": _chat_request(
            "openapi", "This document", content({"type": "object"}, "OpenAPI 3.1.")
        ),
        "/docs": _chat_request("docs", "This document, for reading", html),
    }


def _chat_request(name: str, summary: str, found: dict[str, Any], *statuses: str) -> dict[str, Any]:
    responses = {"200": found, **problems("400", "403", *statuses)}
    return {"get": {"tags": ["Service"], "operationId": name, "summary": summary, "responses": responses}}


_SCHEMAS: dict[str, Any] = {
    "ChatRequest": {
        "type": "object",
        "required": ["message"],
        "properties": {
            "message": {"description": "Anything the component understands.", "example": "Hello!"},
            "stream": {"type": "boolean", "default": False},
            "session_id": {**ID, "description": "The conversation; made by the service if absent."},
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
                    "answer_message": ref("Message"),
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
