"""What a tool answers with: typed outputs, as ``Component.create_output`` makes them.

A ``ComponentOutput`` holds ``Content`` objects; the ``type`` of one says which model its ``text`` is. Names,
fields and defaults are the AppBuilder SDK's, so the JSON form is too. The models of ``text`` take further
members (``Code(code=..., language="python")``) and keep them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator


class Text(BaseModel, extra="allow"):
    """Text for the answer, as Markdown; several in a row make one text."""

    info: str = ""


class Code(BaseModel, extra="allow"):
    """A piece of source code, without a fence. ``language`` may be given as a further member."""

    code: str = ""


class Files(BaseModel, extra="allow"):
    """One file. ``url`` is where it lies; ``file_id`` its id where it was uploaded."""

    filename: str = ""
    url: str = ""
    file_id: str = ""


class Urls(BaseModel, extra="allow"):
    """One address."""

    url: str = ""


class OralText(BaseModel, extra="allow"):
    """Text that is meant to be spoken."""

    info: str = ""


class ReasoningContent(BaseModel, extra="allow"):
    """What a model thought before it answered; several in a row make one text."""

    info: str = ""


class VideoDetail(BaseModel):
    """A video of a reference: sizes in pixels, ``size`` in bytes, ``duration`` in seconds, all as text."""

    url: str | None = None
    height: str | None = None
    width: str | None = None
    size: str | None = None
    duration: str | None = None
    hover_pic: str | None = None


class ImageDetail(BaseModel):
    """An image of a reference: sizes in pixels, as text."""

    url: str | None = None
    height: str | None = None
    width: str | None = None


class References(BaseModel, extra="allow"):
    """One source of the answer. ``id`` is the number the answer cites it by; ``content`` an excerpt."""

    type: str | None = None
    source: str | None = ""
    doc_id: str | None = None
    content: str | None = ""
    extra: dict[Any, Any] | None = {}
    title: str | None = ""
    url: str | None = ""
    web_anchor: str | None = ""
    icon: str | None = None
    date: str | None = None
    id: int | str | None = None
    image: ImageDetail | None = None
    video: VideoDetail | None = None


class Image(BaseModel, extra="allow"):
    """One image: at ``url``, or its bytes in ``base64``. ``mime_type`` is ``png`` or ``image/png``."""

    filename: str = ""
    url: str = ""
    base64: str | None = ""
    mime_type: str | None = "jpeg"


class Chart(BaseModel, extra="allow"):
    """One chart: ``data`` is an ECharts option as JSON text."""

    type: str = ""
    data: str = ""


class Audio(BaseModel, extra="allow"):
    """One sound: at ``url``, or its bytes in ``base64``. ``mime_type`` is ``wav`` or ``audio/wav``."""

    filename: str = ""
    url: str = ""
    base64: str | None = ""
    mime_type: str | None = ""


class PlanStep(BaseModel, extra="allow"):
    """One step of a plan, in the older form: a tool's name and its arguments."""

    name: str = ""
    arguments: dict[Any, Any] = {}
    thought: str = ""


class Task(BaseModel, extra="allow"):
    """One task of a plan. ``requires`` holds the ids of the tasks that come before it."""

    id: str = ""
    name: str = ""
    description: str = ""
    requires: list[str] = []
    tool: str = ""
    parameters: dict[Any, Any] = {}
    status: str = ""


class Plan(BaseModel, extra="allow"):
    """What is going to be done: ``tasks``, or in the older form ``detail`` and ``steps``."""

    goal: str = ""
    thought: str = ""
    tasks: list[Task] = []
    detail: str = ""
    steps: list[PlanStep] = []


class FunctionCall(BaseModel, extra="allow"):
    """A call of a tool: its name and arguments, and the thought that led to it."""

    thought: str = ""
    name: str = ""
    arguments: dict[Any, Any] = {}


class Json(BaseModel, extra="allow"):
    """``data`` is JSON text."""

    data: str = ""


class Browser(BaseModel, extra="allow"):
    """What a browsing tool looks for, does and sees."""

    class Computer(BaseModel, extra="allow"):
        """The machine the browser runs on, and where it can be watched."""

        vnc_url: str = ""
        computer_id: str = ""

    class Result(BaseModel, extra="allow"):
        """``answer`` is what was found, or the error where ``is_error``."""

        is_error: bool = False
        answer: str = ""

    class Screenshot(BaseModel, extra="allow"):
        """The page at ``browser_url``: an image at ``url``, or its bytes in ``data`` as base64."""

        browser_url: str = ""
        url: str = ""
        filename: str = ""
        mime_type: str = "image/jpeg"
        data: str = ""
        file_id: str = ""

    class Thought(BaseModel, extra="allow"):
        """What it wants to do next."""

        next_goal: str = ""

    query: str = ""
    computer: Computer = Computer()
    result: Result = Result()
    screenshot: Screenshot = Screenshot()
    thought: Thought = Thought()
    action: list[Any] | None = None


class Progress(BaseModel, extra="allow"):
    """How far the work is: ``progress`` from 0 to 1. Each replaces the one before of the same name."""

    progress: float = 0.0
    step: str = ""
    next_step_name: str = ""
    message: str = ""


TEXTS: dict[str, type[BaseModel]] = {
    "text": Text,
    "code": Code,
    "files": Files,
    "urls": Urls,
    "oral_text": OralText,
    "references": References,
    "image": Image,
    "chart": Chart,
    "audio": Audio,
    "plan": Plan,
    "function_call": FunctionCall,
    "json": Json,
    "browser": Browser,
    "progress": Progress,
    "reasoning_content": ReasoningContent,
}
"""The model of ``text`` for each ``type``."""

# The member that a plain string is; types without one need a dict.
_FROM_STRING = {
    "text": "info",
    "code": "code",
    "urls": "url",
    "oral_text": "info",
    "json": "data",
    "reasoning_content": "info",
}
# What a dict must hold; whatever stands in neither table needs nothing.
_REQUIRED = {
    **{kind: (member,) for kind, member in _FROM_STRING.items()},
    "files": ("filename", "url"),
    "image": ("filename", "url"),
    "audio": ("filename", "url"),
    "chart": ("type", "data"),
    "function_call": ("thought", "name", "arguments"),
    "browser": ("query",),
}


class Content(BaseModel):
    """One element of an output.

    :param type: one of :data:`TEXTS`; says which model ``text`` is.
    :param name: the stage it belongs to, where a tool yields several of one type.
    :param visible_scope: ``all``, ``user`` or ``llm``: for whom it is.
    :param raw_data: what the tool itself received, as it came.
    :param usage: tokens used, as a model server counts them.
    :param metrics: times and sizes, for tracing.
    """

    name: str = ""
    visible_scope: str = "all"
    raw_data: dict[Any, Any] = {}
    usage: dict[Any, Any] = {}
    metrics: dict[Any, Any] = {}
    type: str = "text"
    text: (
        Text | Code | Files | Urls | OralText | References | Image | Chart | Audio | Plan | Json
        | FunctionCall | Browser | Progress | ReasoningContent
    ) = Field(default_factory=dict, validate_default=True)

    @field_validator("text", mode="before")
    @classmethod
    def _of_its_type(cls, value: Any, info: ValidationInfo) -> BaseModel:
        model = TEXTS.get(info.data.get("type", ""))
        if model is None:
            raise ValueError(f"type must be one of: {', '.join(TEXTS)}")
        return model.model_validate(value)


class ComponentOutput(BaseModel):
    """One output of a tool: who speaks (``tool`` or ``assistant``), and one or more contents."""

    role: str = "tool"
    content: list[Content] = []


def create_output(
    kind: str,
    text: str | Mapping[str, Any],
    *,
    role: str,
    **members: Any,
) -> ComponentOutput:
    """An output with one content; see :meth:`appbuilder.Component.create_output`."""
    if kind not in TEXTS:
        raise ValueError(f"type must be one of: {', '.join(TEXTS)}; not {kind!r}.")
    if role not in ("tool", "assistant"):
        raise ValueError(f"role must be 'tool' or 'assistant', not {role!r}.")
    given = {name: value for name, value in members.items() if value is not None}
    content = {"type": kind, "text": _members(kind, text), **given}
    try:
        return ComponentOutput(role=role, content=[Content.model_validate(content)])
    except ValidationError as error:
        raise ValueError(f"type={kind!r}: {_reasons(error)}") from None


def collected(outputs: Iterable[ComponentOutput]) -> ComponentOutput:
    """All contents of *outputs* in one; the role is the last one's."""
    whole = ComponentOutput()
    for output in outputs:
        whole.role = output.role
        whole.content += output.content
    return whole


def _members(kind: str, text: Any) -> dict[str, Any]:
    if isinstance(text, str):
        if kind not in _FROM_STRING:
            wanted = ", ".join(_REQUIRED.get(kind, TEXTS[kind].model_fields))
            raise ValueError(f"type={kind!r} takes no string: give text as a dict with {wanted}.")
        return {_FROM_STRING[kind]: text}
    if not isinstance(text, Mapping):
        raise ValueError(  # noqa: TRY004 - one kind of error for all wrong input
            f"text must be a str or a dict, not {type(text).__name__}."
        )
    missing = [name for name in _REQUIRED.get(kind, ()) if name not in text]
    if missing:
        raise ValueError(f"type={kind!r}: text lacks {', '.join(missing)}.")
    return dict(text)


def _reasons(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in reason['loc'])}: {reason['msg']}" for reason in error.errors()
    )
