"""What goes to an application and what comes from it, under the AppBuilder SDK's names.

Members that are not listed here pass through, in both directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from appbuilder.errors import InvalidRequest

PUBLISHED = ("chatflow", "publish_message")
"""Event type and content type of a text that a workflow says on its way."""
INTERRUPTED = "chatflow_interrupt"
"""Content type of the event with which a workflow stops and asks."""


class _Sent(BaseModel, extra="allow"):
    """Part of a request."""


class _Received(BaseModel, extra="allow"):
    """Part of an answer. A member that is null counts as left out."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, members: Any) -> Any:
        if isinstance(members, dict):
            return {name: value for name, value in members.items() if value is not None}
        return members


class Function(_Sent):
    """A local function the application may ask for; ``parameters`` is a JSON schema."""

    name: str
    description: str
    parameters: dict[str, Any]


class Tool(_Sent):
    """A tool of the program's own."""

    type: str = "function"
    function: Function


class MCPTool(_Sent):
    """A tool as the Model Context Protocol describes it; ``inputSchema`` is a JSON schema."""

    name: str
    description: str
    inputSchema: dict[str, Any]  # noqa: N815 - the protocol's name


class ToolOutput(_Sent):
    """What a tool call resulted in, as text."""

    tool_call_id: str
    output: str


class ToolChoiceFunction(_Sent):
    """The component that must be used, by its English name, and what goes into it."""

    name: str
    input: dict[str, Any] = {}


class ToolChoice(_Sent):
    """``auto``: the application chooses its components; ``function``: *function* must be used."""

    type: str
    function: ToolChoiceFunction | None = None


class ActionInterruptEvent(_Sent):
    """The question that is answered; ``type`` is ``chat``."""

    id: str
    type: str


class ActionParameters(_Sent):
    """What an action needs."""

    interrupt_event: ActionInterruptEvent


class Action(_Sent):
    """What a run does besides asking: ``resume`` answers what a workflow asked."""

    action_type: str
    parameters: ActionParameters

    @classmethod
    def create_resume_action(cls, event_id: str) -> dict[str, Any]:
        """The action that answers the question *event_id* (``detail["interrupt_event_id"]``)."""
        event = {"id": event_id, "type": "chat"}
        return {"action_type": "resume", "parameters": {"interrupt_event": event}}


class CustomMetadata(_Sent):
    """A role for this run, in place of the application's own."""

    override_role_instruction: str


class Usage(_Received):
    """Tokens of one event; ``name`` is the model's."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    name: str = ""


class ToolCallFunction(_Received):
    """The function that is asked for."""

    name: str
    arguments: dict[str, Any] = {}


class ToolCall(_Received):
    """A call of a local function; its result goes back as a :class:`ToolOutput` with this ``id``."""

    id: str
    type: str = "function"
    function: ToolCallFunction


class Event(_Received):
    """A step of a run.

    ``code`` 0 is success, else ``message`` says what failed. ``status``: preparing, running, done, success,
    error, or interrupt with ``tool_calls``. ``detail`` is what ``content_type`` says; see the classes below.
    """

    code: int = 0
    message: str = ""
    status: str = ""
    event_type: str = ""
    content_type: str = ""
    detail: dict[str, Any] = {}
    usage: Usage | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def published_text(self) -> str:
        """The text a workflow said on its way; empty for other events."""
        said = self.detail.get("message")
        published = (self.event_type, self.content_type) == PUBLISHED
        return said if published and isinstance(said, str) else ""


class AppBuilderClientAnswer(_Received):
    """An answer, or of a stream one piece of it.

    ``answer`` is what the service says there. What a workflow publishes on its way stands in events alone;
    ``text`` has both.
    """

    answer: str = ""
    message_id: str = ""
    events: list[Event] = []

    @property
    def text(self) -> str:
        """All that is to be shown: ``answer``, and what a workflow published."""
        return self.answer + "".join(event.published_text for event in self.events)

    @property
    def interrupt_event_id(self) -> str | None:
        """The question with which a workflow stopped, if it did; see :class:`Action`."""
        for event in reversed(self.events):
            asked = event.detail.get("interrupt_event_id")
            if event.content_type == INTERRUPTED and asked is not None:
                return str(asked)
        return None


class TextDetail(_Received):
    """``detail`` of content type ``text``."""

    text: str = ""


class CodeDetail(_Received):
    """``detail`` of content type ``code``: what the code interpreter wrote, and addresses of its files."""

    text: str = ""
    code: str = ""
    files: list[str] = []


class RAGReference(_Received):
    """A source of an answer; ``from_`` says of which kind."""

    id: str = ""
    from_: str = Field(alias="from")
    url: str = ""
    content: str = ""
    segment_id: str = ""
    document_id: str = ""
    dataset_id: str = ""
    document_name: str = ""
    knowledgebase_id: str = ""


class RAGDetail(_Received):
    """``detail`` of content type ``rag``."""

    text: str = ""
    references: list[RAGReference] = []


class FunctionCallDetail(_Received):
    """``detail`` of content type ``function_call``; image, audio and video are addresses."""

    text: str | dict[str, Any] = ""
    image: str = ""
    audio: str = ""
    video: str = ""


class ImageDetail(_Received):
    """``detail`` of content type ``image``: its address."""

    image: str = ""


class AudioDetail(_Received):
    """``detail`` of content type ``audio``: its address."""

    audio: str = ""


class VideoDetail(_Received):
    """``detail`` of content type ``video``: its address."""

    video: str = ""


class StatusDetail(_Received):
    """``detail`` of content type ``status``."""


class DefaultDetail(_Received):
    """``detail`` of any other content type; all are addresses."""

    urls: list[str] = []
    files: list[str] = []
    image: str = ""
    video: str = ""
    audio: str = ""


class AppOverview(_Received):
    """An application as lists show it; ``updateTime`` is in seconds since 1970."""

    id: str = ""
    name: str = ""
    description: str = ""
    appType: str | None = None  # noqa: N815 - the wire's names, here and below
    isPublished: bool | None = None  # noqa: N815
    updateTime: int | None = None  # noqa: N815


class DescribeAppsResponse(_Received):
    """A page of the list of applications; the next begins at ``nextMarker`` if ``isTruncated``."""

    requestId: str = ""  # noqa: N815
    marker: str = ""
    isTruncated: bool = False  # noqa: N815
    nextMarker: str = ""  # noqa: N815
    maxKeys: int = 0  # noqa: N815
    data: list[AppOverview] = []


class AppBuilderClientAppListResponse(_Received):
    """The list of applications as the older interface tells it."""

    request_id: str = ""
    data: list[AppOverview] = []


class DescribeAppResponse(_Received):
    """An application: its instructions, what it says first, and what it is made of."""

    requestId: str = ""  # noqa: N815
    id: str = ""
    name: str = ""
    description: str = ""
    instruction: str = ""
    prologue: str = ""
    exampleQueries: list[str] = []  # noqa: N815
    followupQueries: dict[str, Any] = {}  # noqa: N815
    components: list[dict[str, Any]] | None = None
    knowledgeBaseConfig: dict[str, Any] | None = None  # noqa: N815
    modelConfig: dict[str, Any] | None = None  # noqa: N815
    background: dict[str, Any] | None = None


_Part = TypeVar("_Part", bound=BaseModel)


def checked(kind: type[_Part], value: Any, name: str) -> _Part:
    """*value*, a *kind* or a dict of its members, as a *kind*.

    :raises InvalidRequest: a member is missing or of a wrong type; the text names it, and does not quote it.
    """
    try:
        return value if isinstance(value, kind) else kind.model_validate(_members(value))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join((name, *map(str, first["loc"])))
    raise InvalidRequest(f"{where}: {first['msg']}.")


def _members(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    return dict(value) if isinstance(value, Mapping) else value
