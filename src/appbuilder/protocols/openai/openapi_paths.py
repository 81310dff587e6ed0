"""What the OpenAPI document says of the OpenAI API; pure."""

from __future__ import annotations

from typing import Any

from appbuilder.protocols.openai import open_webui, parameters
from appbuilder.protocols.openai.messages import ROLES, TEXT_TYPES, TOOL_ROLES
from appbuilder.protocols.openai.response_input import ROLES as ITEM_ROLES
from appbuilder.protocols.openai.session_names import SESSION_ID_HEADER
from appbuilder.protocols.openapi.parts import (
    CALLER_HEADERS,
    ID,
    ON_DISCONNECT,
    Schema,
    body,
    content,
    members,
    parameter,
    problems,
    ref,
)

_TAG = "OpenAI"
_FAILURES = ("409", "413", "415", "429", "500", "502", "504")


def paths(model: str) -> dict[str, Any]:
    """The paths.

    :param model: the service's only one.
    """
    return {
        "/v1/models": {"get": _operation("list_models", "List models: the component", _MODELS)},
        "/v1/models/{model}": {
            "get": _operation(
                "get_model", "A model", content(ref("Model")), "404", parameters=[_named(model)]
            )
        },
        "/v1/chat/completions": {
            "post": _operation(
                "create_chat_completion",
                "Say something, as a chat completion",
                _answer("ChatCompletion", _CHUNKS),
                "404",
                *_FAILURES,
                parameters=_HEADERS,
                requestBody=body(_request(model, _CHAT, "messages")),
            )
        },
        "/v1/responses": {
            "post": _operation(
                "create_response",
                "Say something, as a response",
                _answer("Response", _EVENTS),
                "404",
                *_FAILURES,
                parameters=_HEADERS,
                requestBody=body({**_request(model, _RESPONSE, "input"), "not": _BOTH}),
            )
        },
        "/v1/responses/{response_id}": {
            "get": _operation(
                "get_response",
                "A response that was kept",
                content(ref("Response")),
                "404",
                parameters=[parameter("path", "response_id", "As it was returned.", ID, required=True)],
            )
        },
    }


def _operation(name: str, summary: str, found: dict[str, Any], *statuses: str, **more: Any) -> dict[str, Any]:
    failed = sorted({"400", "401", "403", "405", "503", *statuses})
    return {
        "tags": [_TAG],
        "operationId": name,
        "summary": summary,
        **more,
        "responses": {"200": found, **problems(*failed, schema="OpenAIError")},
    }


def _answer(schema: str, events: str) -> dict[str, Any]:
    return {
        "description": "The answer: whole, or with stream=true as events.",
        "headers": {
            SESSION_ID_HEADER: {
                "description": "The session it belongs to, as UTF-8.",
                "schema": {"type": "string"},
            }
        },
        "content": {
            "application/json": {"schema": ref(schema)},
            # No type: tools disagree whether the schema is of the text or of one event.
            "text/event-stream": {"schema": {"description": events}},
        },
    }


def _named(model: str) -> dict[str, Any]:
    return parameter("path", "model", "Its id.", {"type": "string", "example": model}, required=True)


def _request(model: str, properties: dict[str, Any], needed: str) -> Schema:
    named = {"type": "string", "enum": [model]}
    return {
        "type": "object",
        "required": ["model", needed],
        "properties": {"model": named, **properties},
        "additionalProperties": {"description": "Passed on to a component that takes a member of the name."},
    }


def _optional(kind: str, text: str, **more: Any) -> Schema:
    return {"type": [kind, "null"], "description": text, **more}


_CHUNKS = "Server-sent events: chunks, then [DONE]. Of a stream that failed the last is an OpenAIError."
_EVENTS = (
    "Server-sent events: response.created ... response.completed, response.failed or response.incomplete."
)
_MODELS = content(members({"object": {"const": "list"}, "data": {"type": "array", "items": ref("Model")}}))
_HEADERS = [
    parameter("header", SESSION_ID_HEADER, "The session to go on with.", ID),
    parameter("header", open_webui.CHAT_ID, "The same, as Open WebUI names it.", {"type": "string"}),
    *CALLER_HEADERS,
    ON_DISCONNECT,
]
_CONTENT: Schema = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "minItems": 1, "items": ref("OpenAIPart")},
    ]
}
_PERHAPS: Schema = {"anyOf": [*_CONTENT["anyOf"], {"type": "null"}]}
_SESSION: Schema = {**ID, "type": ["string", "null"], "description": "The session to go on with."}
_OF_CHAT, _OF_RESPONSE, _PARAMETERS = parameters.schemas()
_METADATA: Schema = {
    "anyOf": [{**_OF_CHAT["metadata"]["anyOf"][0], "properties": {"session_id": _SESSION}}, {"type": "null"}],
    "description": "`session_id` in it names the session.",
}
_STEERING: dict[str, Any] = {"metadata": _METADATA, "session_id": _SESSION}
_CHAT: dict[str, Any] = {
    **_OF_CHAT,
    "messages": {
        "type": "array",
        "minItems": 1,
        "items": ref("OpenAIMessage"),
        "contains": {
            "type": "object",
            "required": ["role"],
            "properties": {"role": {"enum": ["user", *TOOL_ROLES]}},
        },
        "example": [{"role": "user", "content": "Hello"}],
    },
    "n": {"enum": [1, None]},
    **_STEERING,
}
_USER_ITEM: Schema = {
    "type": "object",
    "required": ["role"],
    "properties": {"role": {"const": "user"}, "type": {"const": "message"}},
}
_OUTPUT_ITEM: Schema = {
    "type": "object",
    "required": ["type", "call_id"],
    "properties": {"type": {"enum": ["function_call_output", "custom_tool_call_output"]}},
}
_RESPONSE: dict[str, Any] = {
    **_OF_RESPONSE,
    "input": {
        "anyOf": [
            {"type": "string"},
            {
                "type": "array",
                "minItems": 1,
                "items": ref("OpenAIItem"),
                "contains": {"anyOf": [_USER_ITEM, _OUTPUT_ITEM]},
            },
        ],
        "example": "Hello",
    },
    "instructions": _optional("string", "For components that take it, or `system`."),
    "conversation": {
        "anyOf": [_SESSION, members({"id": ID})],
        "description": "The session to go on with.",
    },
    "previous_response_id": _optional("string", "The newest response of the session to go on with."),
    "store": {"type": ["boolean", "null"], "default": True, "description": "false: nothing is kept."},
    "background": {"enum": [False, None]},
    **_STEERING,
}
_BOTH: Schema = {
    "required": ["conversation", "previous_response_id"],
    "properties": {"conversation": {"not": {"type": "null"}}, "previous_response_id": {"type": "string"}},
}
"""What a request must not name together."""
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer"}

_CALL: Schema = members(
    {"type": {"const": "function_call"}, "call_id": _TEXT, "name": _TEXT, "arguments": _TEXT}
)
_RESULT: Schema = members({"type": {"const": "function_call_output"}, "call_id": _TEXT, "output": _CONTENT})
_KNOWN_ITEMS = [
    "message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output",
    "item_reference",
]  # fmt: skip

SCHEMAS: dict[str, Schema] = {
    **_PARAMETERS,
    "OpenAIMessage": {
        "anyOf": [
            members({"role": {"const": "user"}, "content": _CONTENT}),
            members(
                {"role": {"enum": [role for role in ROLES if role != "user"]}, "content": _PERHAPS},
                optional=["content"],
            ),
        ],
    },
    "OpenAIItem": {
        "anyOf": [
            members(
                {"role": {"enum": list(ITEM_ROLES)}, "content": _CONTENT, "type": {"const": "message"}},
                optional=["type"],
            ),
            _CALL,
            _RESULT,
            members({"type": {"const": "item_reference"}, "id": _TEXT}),
            members({"type": {"type": "string", "not": {"enum": _KNOWN_ITEMS}}}),
        ],
        "description": "A message, a call of a tool or its result, a reference to an item of a response; "
        "or an item of another type, which is passed over.",
    },
    "OpenAIPart": {
        "anyOf": [
            members({"type": {"type": "string", "enum": list(TEXT_TYPES)}, "text": _TEXT}),
            members({"type": {"type": "string", "not": {"enum": list(TEXT_TYPES)}}}),
        ],
        "description": "Text, or what the component makes of another type.",
    },
    "OpenAIError": members(
        {
            "error": members(
                {
                    "message": _TEXT,
                    "type": _TEXT,
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                    "request_id": _TEXT,
                }
            )
        }
    ),
    "Model": members({"id": _TEXT, "object": {"const": "model"}, "created": _COUNT, "owned_by": _TEXT}),
    "ChatCompletion": members(
        {
            "id": _TEXT,
            "object": {"const": "chat.completion"},
            "created": _COUNT,
            "model": _TEXT,
            "choices": {
                "type": "array",
                "items": members(
                    {
                        "index": _COUNT,
                        "message": members({"role": {"const": "assistant"}, "content": _TEXT}),
                        "finish_reason": {"enum": ["stop", "length", "content_filter"]},
                    }
                ),
            },
            "usage": members({"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT}),
        }
    ),
    "Response": members(
        {
            "id": _TEXT,
            "object": {"const": "response"},
            "created_at": _COUNT,
            "status": {"enum": ["completed", "failed", "incomplete", "in_progress"]},
            "model": _TEXT,
            "output": {"type": "array", "items": {"type": "object"}},
            "conversation": {"anyOf": [members({"id": _TEXT}), {"type": "null"}]},
            "completed_at": {"type": ["integer", "null"]},
            "incomplete_details": {"anyOf": [members({"reason": _TEXT}), {"type": "null"}]},
            "error": {"type": ["object", "null"]},
            "usage": {"type": ["object", "null"]},
        }
    ),
}
