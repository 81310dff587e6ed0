"""What OpenAI's two APIs take besides the messages: type and range of each member, for checks and document.

Names, types and ranges are those of the ``openai`` package (3.52, ``types/chat/completion_create_params.py``
and ``types/responses/response_create_params.py``) and of https://platform.openai.com/docs/api-reference. Null
counts as absent everywhere, and members that are not named here may be anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, Required

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    with_config,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from appbuilder.errors import InvalidRequest

_LENIENT = ConfigDict(extra="allow", strict=True)
LONGEST_NAME = 128


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Takes 8.0 for an integer, as JSON Schema does; it stands last, so that the ranges are in the schema."""


def _at_most(count: int) -> BeforeValidator:
    """Counts the members of an object before each of them is looked at."""

    def check(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > count:
            raise PydanticCustomError("too_long", f"Object should have at most {count} members")
        return value

    return BeforeValidator(check)


Penalty = Annotated[float, Field(ge=-2, le=2)]
Tokens = Annotated[int, Field(ge=1), WHOLE]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)] | None],
    Field(max_length=16),
    _at_most(16),
]
Biases = Annotated[
    dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=1024), _at_most(1024)
]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Verbosity = Literal["low", "medium", "high"]
Choice = Literal["none", "auto", "required"]


def _kind(value: Any) -> str:
    """The branch a value with a ``type`` belongs to: those that are not known here are all one."""
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if kind in ("function", "custom") else "other"


@with_config(_LENIENT)
class Typed(TypedDict):
    """An object that says what it is."""

    type: Required[str]


@with_config(_LENIENT)
class OtherTool(TypedDict):
    """A tool of another type: whatever it needs is between the client and the component."""

    type: Required[
        Annotated[str, WithJsonSchema({"type": "string", "not": {"enum": ["function", "custom"]}})]
    ]


@with_config(_LENIENT)
class Function(TypedDict):
    """What a chat completion says of a function."""

    name: Required[Name]
    description: NotRequired[str | None]
    parameters: NotRequired[dict[str, Any] | None]
    strict: NotRequired[bool | None]


@with_config(_LENIENT)
class ChatFunctionTool(TypedDict):
    """A function as a tool of a chat completion."""

    type: Required[Literal["function"]]
    function: Required[Function]


@with_config(_LENIENT)
class Custom(TypedDict):
    """What a chat completion says of a custom tool."""

    name: Required[Name]
    description: NotRequired[str | None]


@with_config(_LENIENT)
class ChatCustomTool(TypedDict):
    """A custom tool of a chat completion."""

    type: Required[Literal["custom"]]
    custom: Required[Custom]


@with_config(_LENIENT)
class ResponseFunctionTool(TypedDict):
    """A function as a tool of a response."""

    type: Required[Literal["function"]]
    name: Required[Name]
    description: NotRequired[str | None]
    parameters: NotRequired[dict[str, Any] | None]
    strict: NotRequired[bool | None]


@with_config(_LENIENT)
class ResponseCustomTool(TypedDict):
    """A custom tool of a response."""

    type: Required[Literal["custom"]]
    name: Required[Name]
    description: NotRequired[str | None]


ChatTool = Annotated[
    Annotated[ChatFunctionTool, Tag("function")]
    | Annotated[ChatCustomTool, Tag("custom")]
    | Annotated[OtherTool, Tag("other")],
    Discriminator(_kind),
]
ResponseTool = Annotated[
    Annotated[ResponseFunctionTool, Tag("function")]
    | Annotated[ResponseCustomTool, Tag("custom")]
    | Annotated[OtherTool, Tag("other")],
    Discriminator(_kind),
]


@with_config(_LENIENT)
class PlainFormat(TypedDict):
    """An answer of text, or of any JSON."""

    type: Required[Literal["text", "json_object"]]


@with_config(_LENIENT)
class JsonSchema(TypedDict):
    """A schema of answers and its name."""

    name: Required[Name]
    description: NotRequired[str | None]
    schema: NotRequired[dict[str, Any] | None]
    strict: NotRequired[bool | None]


@with_config(_LENIENT)
class ChatSchemaFormat(TypedDict):
    """Answers of a chat completion that follow a schema."""

    type: Required[Literal["json_schema"]]
    json_schema: Required[JsonSchema]


@with_config(_LENIENT)
class ResponseSchemaFormat(TypedDict):
    """Answers of a response that follow a schema."""

    type: Required[Literal["json_schema"]]
    name: Required[Name]
    schema: Required[dict[str, Any]]
    description: NotRequired[str | None]
    strict: NotRequired[bool | None]


@with_config(_LENIENT)
class StreamOptions(TypedDict):
    """How a stream is written."""

    include_usage: NotRequired[bool | None]
    include_obfuscation: NotRequired[bool | None]


@with_config(_LENIENT)
class Reasoning(TypedDict):
    """How a model is to reason."""

    effort: NotRequired[Effort | None]
    summary: NotRequired[Literal["auto", "concise", "detailed"] | None]
    generate_summary: NotRequired[Literal["auto", "concise", "detailed"] | None]


@with_config(_LENIENT)
class TextOptions(TypedDict):
    """What form the text of a response has."""

    format: NotRequired[Annotated[PlainFormat | ResponseSchemaFormat, Field(discriminator="type")] | None]
    verbosity: NotRequired[Verbosity | None]


class _Shared(TypedDict):
    temperature: NotRequired[Annotated[float, Field(ge=0, le=2)] | None]
    top_p: NotRequired[Annotated[float, Field(ge=0, le=1)] | None]
    top_logprobs: NotRequired[Annotated[int, Field(ge=0, le=20), WHOLE] | None]
    frequency_penalty: NotRequired[Penalty | None]
    presence_penalty: NotRequired[Penalty | None]
    max_tokens: NotRequired[Tokens | None]
    max_completion_tokens: NotRequired[Tokens | None]
    max_output_tokens: NotRequired[Tokens | None]
    seed: NotRequired[Annotated[int, Field(ge=-(2**63), lt=2**63), WHOLE] | None]
    stop: NotRequired[str | Annotated[list[str], Field(max_length=4)] | None]
    metadata: NotRequired[Metadata | None]
    user: NotRequired[str | None]
    safety_identifier: NotRequired[str | None]
    prompt_cache_key: NotRequired[str | None]
    prompt_cache_retention: NotRequired[Literal["in_memory", "in-memory", "24h"] | None]
    service_tier: NotRequired[Literal["auto", "default", "flex", "scale", "priority", "fast"] | None]
    parallel_tool_calls: NotRequired[bool | None]
    tool_choice: NotRequired[Choice | Typed | None]
    stream: NotRequired[bool | None]
    stream_options: NotRequired[StreamOptions | None]
    store: NotRequired[bool | None]


@with_config(_LENIENT)
class ChatParameters(_Shared):
    """Members of a chat completion's request."""

    logprobs: NotRequired[bool | None]
    logit_bias: NotRequired[Biases | None]
    modalities: NotRequired[Annotated[list[Literal["text", "audio"]], Field(max_length=16)] | None]
    reasoning_effort: NotRequired[Effort | None]
    verbosity: NotRequired[Verbosity | None]
    response_format: NotRequired[
        Annotated[PlainFormat | ChatSchemaFormat, Field(discriminator="type")] | None
    ]
    tools: NotRequired[Annotated[list[ChatTool], Field(max_length=128)] | None]
    functions: NotRequired[Annotated[list[Function], Field(max_length=128)] | None]
    function_call: NotRequired[Literal["none", "auto"] | Function | None]
    audio: NotRequired[dict[str, Any] | None]
    prediction: NotRequired[Typed | None]
    web_search_options: NotRequired[dict[str, Any] | None]


@with_config(_LENIENT)
class ResponseParameters(_Shared):
    """Members of a response's request."""

    instructions: NotRequired[str | None]
    max_tool_calls: NotRequired[Tokens | None]
    previous_response_id: NotRequired[str | None]
    background: NotRequired[bool | None]
    truncation: NotRequired[Literal["auto", "disabled"] | None]
    include: NotRequired[Annotated[list[str], Field(max_length=64)] | None]
    reasoning: NotRequired[Reasoning | None]
    text: NotRequired[TextOptions | None]
    tools: NotRequired[Annotated[list[ResponseTool], Field(max_length=128)] | None]
    prompt: NotRequired[dict[str, Any] | None]


CHAT: TypeAdapter[ChatParameters] = TypeAdapter(ChatParameters)
RESPONSE: TypeAdapter[ResponseParameters] = TypeAdapter(ResponseParameters)


def check(adapter: TypeAdapter[Any], body: Mapping[str, Any]) -> None:
    """:raises InvalidRequest: a member has a wrong type or is out of its range; ``param`` says which."""
    try:
        adapter.validate_python(body)
    except ValidationError as error:
        found = [
            (".".join(_path(body, each["loc"], missing=each["type"] == "missing")), each)
            for each in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    else:
        return
    # Of a member that may be of several types there is one error a type: the one that got furthest is meant.
    param, what = max(found, key=lambda each: (_depth(each[0]), not each[1]["type"].endswith("_type")))
    param = param[:_SHOWN]
    text = _WORDS.get(what["type"]) or what["msg"].partition(" after validation")[0][:_SHOWN]
    raise InvalidRequest(f"Invalid value for {param!r}: {text[:1].lower()}{text[1:]}.", param=param)


def _depth(param: str) -> int:
    return param.count(".") + param.count("[")


_SHOWN = 200
"""Characters of what a caller sent that an error repeats."""
_WORDS = {
    "dict_type": "expected an object",
    "model_attributes_type": "expected an object",
    "list_type": "expected an array",
    "union_tag_invalid": "unknown type",
    "union_tag_not_found": "expected an object with a type",
    "missing": "the member is required",
}
"""What pydantic says in Python's words."""


def _path(body: Mapping[str, Any], loc: Sequence[str | int], *, missing: bool) -> list[str]:
    """The way to a member, without the names of types that pydantic puts between."""
    value: Any = body
    path: list[str] = []
    for at, step in enumerate(loc):
        if isinstance(value, list) and isinstance(step, int) and step < len(value):
            path[-1] += f"[{step}]"
            value = value[step]
        elif isinstance(value, dict) and (step in value or (missing and at == len(loc) - 1)):
            path.append(str(step))
            value = value.get(step)
    return path


def schemas() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """For an OpenAPI document: the members of the two requests, and the schemas they refer to by name."""
    where = "#/components/schemas/OpenAI{model}"
    named: dict[str, Any] = {}
    members = []
    for adapter in (CHAT, RESPONSE):
        schema = _untitled(adapter.json_schema(ref_template=where))
        named |= {f"OpenAI{name}": each for name, each in schema.get("$defs", {}).items()}
        members.append(schema["properties"])
    return members[0], members[1], named


def _untitled(schema: Any) -> Any:
    """*schema* without the titles pydantic makes of names, and without discriminators."""
    if isinstance(schema, list):
        return [_untitled(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _untitled(each)
        for name, each in schema.items()
        if not (name == "title" and isinstance(each, str)) and name != "discriminator"
    }
