"""A turn as Chainlit shows it: what was said, the run, its model calls, the answer's parts; pure.

The run stands under the user's message, and all others under the run, as Chainlit's page wants it for its
Stop button, its blinking cursor and its thumbs. The run's id is the turn's, so that a thumb finds the turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from appbuilder.core.conversations import Rating
from appbuilder.core.message import text_of
from appbuilder.engine.fold import time_of
from appbuilder.serve.page.composer import Done, Part
from appbuilder.serve.page.outputs import Element
from appbuilder.serve.page.outputs.markdown import fenced, fenced_json, plain
from appbuilder.serve.page.page_texts import text

Step = dict[str, Any]
"""``chainlit.step.StepDict``."""


@dataclass(frozen=True, slots=True)
class ItemIds:
    """Where a turn's steps stand. ``author`` is the assistant's name."""

    session_id: str
    request_id: str
    turn_id: str
    author: str
    language: str


def iso(at: datetime) -> str:
    """A UTC time without a zone, as the page wants it."""
    return at.isoformat(timespec="milliseconds") + "Z"


def said(place: ItemIds, words: str, at: datetime) -> Step:
    """What the user said."""
    return _step(
        place, place.request_id, under=None, kind="user_message", name="User", at=at, output=words
    )


def run(place: ItemIds, began: datetime, ended: datetime | None, rating: Rating | None = None) -> Step:
    """The run; without *ended* the page shows that it is going on."""
    step = _step(
        place, place.turn_id, under=place.request_id, kind="run", name="on_message", at=began
    )
    step["end"] = None if ended is None else iso(ended)
    if rating is not None:
        step["feedback"] = {
            "id": place.turn_id,
            "forId": place.turn_id,
            "value": int(rating.good),
            "comment": rating.comment or None,
        }
    return step


def part(place: ItemIds, number: int, markdown: str, at: datetime, *, streaming: bool = False) -> Step:
    """A part of the answer, the *number*-th."""
    step = _answer(place, part_id(place, number), markdown, at)
    step["streaming"] = streaming
    return step


def failure(place: ItemIds, words: str, at: datetime) -> Step:
    """What the user sees of an error."""
    step = _answer(place, f"{place.turn_id}/error", words, at)
    step["isError"] = True
    return step


def folded(place: ItemIds, number: int, name: str, markdown: str, at: datetime) -> Step:
    """A part that folds open."""
    step = _step(
        place,
        part_id(place, number),
        under=place.turn_id,
        kind="tool",
        name=name,
        at=at,
        output=markdown,
    )
    step["end"] = iso(at)
    return step


def done(place: ItemIds, what: Done, at: datetime) -> Step:
    """Something the run did.

    :param at: when it was noticed, for what does not say when it began.
    """
    began = time_of(what.data, what.at or at)
    show = _model_call if what.kind == "model" else _tool if what.kind == "tool" else _event
    return show(place, what, began)


def item_id(place: ItemIds, item: Part | Done) -> str:
    """The id of what is shown of a run."""
    return part_id(place, item.number) if isinstance(item, Part) else f"{place.turn_id}/{item.id}"


def _event(place: ItemIds, what: Done, began: datetime) -> Step:
    step = _did(place, what, str(what.data.get("name")), began, what.data.get("detail"))
    step["end"] = iso(began) if what.ended else None
    return step


def _tool(place: ItemIds, what: Done, began: datetime) -> Step:
    step = _did(place, what, str(what.data.get("name") or ""), began, what.data.get("content"))
    given = what.data.get("arguments", what.data.get("detail"))
    if given:
        step["input"] = fenced(given, "json") if isinstance(given, str) else fenced_json(plain(given))
        step["showInput"] = True
    step["end"] = iso(began) if what.ended else None
    return step


def _did(place: ItemIds, what: Done, name: str, began: datetime, output: Any) -> Step:
    """A step with what came of it, and its error before that."""
    error = what.data.get("error")
    shown = [fenced(str(error), "text")] if error else []
    if output:
        shown.append(fenced(output, "text") if isinstance(output, str) else fenced_json(plain(output)))
    step = _step(
        place,
        item_id(place, what),
        under=place.turn_id,
        kind="tool",
        name=name,
        at=began,
        output="\n\n".join(shown),
    )
    step["isError"] = bool(error)
    return step


def _model_call(place: ItemIds, what: Done, began: datetime) -> Step:
    data, detail = what.data, what.data.get("detail")
    call: Mapping[str, Any] = detail if isinstance(detail, Mapping) else {}
    step = _step(
        place,
        item_id(place, what),
        under=place.turn_id,
        kind="llm",
        name=_call_name(data, place.language, ended=what.ended),
        at=began,
        output=fenced(str(call["answer"]), "text") if call.get("answer") else "",
    )
    step["input"] = _prompt(call.get("prompt") or ())
    step["showInput"] = True
    milliseconds = data.get("milliseconds") or 0
    step["end"] = iso(began + timedelta(milliseconds=milliseconds)) if what.ended else None
    step["isError"] = bool(data.get("error"))
    return step


def element(place: ItemIds, number: int, shown: Element) -> dict[str, Any]:
    """An element of the *number*-th part, as ``chainlit.element.ElementDict``."""
    return {
        "id": f"{part_id(place, number)}/{shown.kind}",
        "threadId": place.session_id,
        "type": shown.kind,
        "name": shown.name,
        "url": shown.url,
        "mime": shown.mime,
        "display": "inline",
        "size": "large",
        "forId": part_id(place, number),
    }


def part_id(place: ItemIds, number: int) -> str:
    """The id of a part of an answer."""
    return f"{place.turn_id}/{number}"


def error_line(place: ItemIds, error: Mapping[str, Any]) -> str:
    """One line for *error* (see :func:`appbuilder.protocols.errors.explained`) that names the request."""
    own = str(error.get("text", ""))
    words = own if error.get("own") else text(str(error.get("kind")), place.language, own)
    line = f"{words} ({text('request', place.language)}: `{place.request_id}`)"
    trace = error.get("traceback")
    return f"{line}\n\n{fenced(str(trace), 'text')}" if trace else line


def stopped_line(language: str) -> str:
    """What follows an answer that was cut."""
    return f"*⏹ {text('stopped', language)}*"


def cut_line(language: str, answer: Any) -> str:
    """What follows an answer (its JSON members) whose ``extra`` says that it is not whole; else nothing."""
    words, reason = cut_words(language, answer)
    code = f" (`{reason.replace('`', '')}`)" if reason else ""
    return f"*⚠ {words}*{code}" if words else ""


def cut_words(language: str, answer: Any) -> tuple[str, str]:
    """The same without Markdown, and the model server's own word where ours do not say it; empty: whole."""
    extra = answer.get("extra") if isinstance(answer, Mapping) else None
    reason = extra.get("finish_reason") if isinstance(extra, Mapping) else None
    if not isinstance(reason, str) or not reason:
        return "", ""
    if reason in ("length", "content_filter"):
        return text(reason, language), ""
    return text("ended", language), reason[:100]


def _call_name(call: Mapping[str, Any], language: str, *, ended: bool) -> str:
    name, took = str(call.get("name") or ""), call.get("milliseconds")
    if not ended:
        return name
    tokens = (call.get("usage") or {}).get("total_tokens")
    counted = f" · {tokens} {text('tokens', language)}" if tokens else ""
    return f"{name}{counted}" if took is None else f"{name}{counted} · {took} ms"


def _prompt(messages: Sequence[Mapping[str, Any]]) -> str:
    lines = (f"**{message.get('role', 'user')}**\n\n{fenced(text_of(message.get('content')), 'text')}"
             for message in messages)
    return "\n\n".join(lines)


def _answer(place: ItemIds, step_id: str, markdown: str, at: datetime) -> Step:
    return _step(
        place,
        step_id,
        under=place.turn_id,
        kind="assistant_message",
        name=place.author,
        at=at,
        output=markdown,
    )


def _step(
    place: ItemIds,
    step_id: str,
    *,
    under: str | None,
    kind: str,
    name: str,
    at: datetime,
    output: str = "",
) -> Step:
    return {
        "id": step_id,
        "threadId": place.session_id,
        "parentId": under,
        "type": kind,
        "name": name,
        "input": "",
        "output": output,
        "createdAt": iso(at),
        "start": iso(at),
        "end": None,
        "streaming": False,
        "isError": False,
        "waitForAnswer": False,
        "showInput": False,
        "metadata": {},
        "tags": [],
        "language": None,
        "generation": None,
    }
