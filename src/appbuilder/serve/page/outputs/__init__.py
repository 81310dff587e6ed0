"""What a tool's typed output looks like on the page: pure, from plain JSON members to what is to be shown.

Whatever the output holds, nothing here fails, no address but http, https and a harmless ``data:`` is passed
on, and nothing but the text of ``text``, ``oral_text`` and ``reasoning_content`` is taken as Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from appbuilder import jsontext
from appbuilder.serve.page.outputs import charts, markdown, media

Members = Mapping[str, Any]


@dataclass(frozen=True)
class Text:
    """Markdown that goes on where the answer's text stands."""

    markdown: str


@dataclass(frozen=True)
class Block:
    """Markdown of its own: an empty line before and after it.

    References without a number are items of a list; where such blocks follow each other in one message,
    Markdown counts them.
    """

    markdown: str


@dataclass(frozen=True)
class Step:
    """Markdown behind a name that folds open. A step right after one of the same name goes on with it."""

    name: str
    markdown: str


@dataclass(frozen=True)
class Element:
    """Something that is not text, at an http(s) or ``data:`` address; a plotly one holds a figure as JSON."""

    kind: Literal["image", "audio", "plotly", "file"]
    name: str
    mime: str
    url: str


@dataclass(frozen=True)
class Progress:
    """A bar as Markdown; it takes the place of the one before of the same *id*. *fraction* is 0 to 1."""

    id: str
    fraction: float
    markdown: str


Shown = Text | Block | Step | Element | Progress


def shown(output: Any) -> list[Shown]:
    """What is to be shown for one output, in its order.

    :param output: a ``ComponentOutput`` as ``model_dump`` gives it. One content alone will do, so will a
        string. Anything else, and what a type does not allow, is shown as JSON.
    """
    output = markdown.plain(output)
    if isinstance(output, str):
        return [Text(output)] if output else []
    contents = output.get("content") if isinstance(output, dict) else None
    if isinstance(contents, list):
        return [piece for content in contents for piece in _content(content)]
    return _content(output)


class _Malformed(Exception):
    """A known type whose members are not what it says."""


def _content(content: Any) -> list[Shown]:
    try:
        kind, text = content["type"], content["text"]
        pieces = _SHOW[kind](_members(kind, text), content)
    except (_Malformed, KeyError, TypeError):
        return [Block(markdown.fenced_json(content))]
    if content.get("visible_scope") == "llm":
        return [_for_the_model(piece, content) for piece in pieces]
    return pieces


def _members(kind: str, text: Any) -> Members:
    if isinstance(text, str):
        return {{"code": "code", "urls": "url", "json": "data"}.get(kind, "info"): text}
    if not isinstance(text, dict):
        raise _Malformed
    return text


def _for_the_model(piece: Shown, content: Members) -> Shown:
    if isinstance(piece, (Text, Block)):
        return Step(f"{_name(content) or content['type']} → LLM", piece.markdown)
    return piece


def _string(members: Members, name: str) -> str:
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise _Malformed
    return value or ""


def _list(members: Members, name: str) -> list[Any]:
    value = members.get(name)
    if value is not None and not isinstance(value, list):
        raise _Malformed
    return value or []


def _object(members: Members, name: str) -> Members:
    value = members.get(name)
    if value is not None and not isinstance(value, dict):
        raise _Malformed
    return value or {}


def _name(content: Members) -> str:
    name = content.get("name")
    return markdown.line(name, 80) if isinstance(name, str) else ""


def _text(text: Members, _: Members) -> list[Shown]:
    info = _string(text, "info")
    return [Text(info)] if info else []


def _spoken(text: Members, _: Members) -> list[Shown]:
    info = _string(text, "info").strip()
    return [Block("\n".join(f"> {line}" for line in f"🔊 {info}".splitlines()))] if info else []


def _reasoning(text: Members, content: Members) -> list[Shown]:
    info = _string(text, "info")
    return [Step(_name(content) or "reasoning", info)] if info else []


def _code(text: Members, _: Members) -> list[Shown]:
    language = _string(text, "language") or _string(text, "lang")
    return [Block(markdown.fenced(_string(text, "code"), language.strip().lower()))]


def _json(text: Members, _: Members) -> list[Shown]:
    data = _string(text, "data")
    try:
        return [Block(markdown.fenced_json(markdown.plain(jsontext.loads(data.encode()))))]
    except jsontext.NotJson:
        return [Block(markdown.fenced(data))]


def _function_call(text: Members, _: Members) -> list[Shown]:
    thought = markdown.escaped(_string(text, "thought"), 2000)
    call = markdown.fenced_json({name: value for name, value in text.items() if name != "thought"})
    return [Block(f"{thought}\n\n{call}" if thought else call)]


def _urls(text: Members, _: Members) -> list[Shown]:
    url = _string(text, "url")
    return [Block(markdown.link("", url, say_host=False))] if url.strip() else []


def _files(text: Members, _: Members) -> list[Shown]:
    url, name = _string(text, "url"), markdown.line(_string(text, "filename"), 200)
    address = _address(url, "", name, "file")
    if address is not None:
        name = name or markdown.line(re.split(r"[?#]", url)[0].rpartition("/")[2], 200) or "file"
        return [Element("file", name, _mime(address, name), address)]
    told = markdown.link(name, url)
    if file_id := _string(text, "file_id"):
        told += f" {markdown.code_span(file_id)}"
    return [Block(told.strip())] if told.strip() else []


def _image(text: Members, content: Members) -> list[Shown]:
    return _medium("image", text, content)


def _audio(text: Members, content: Members) -> list[Shown]:
    return _medium("audio", text, content)


def _medium(kind: Literal["image", "audio"], text: Members, content: Members) -> list[Shown]:
    url, data, mime = (_string(text, name) for name in ("url", "base64", "mime_type"))
    name = markdown.line(_string(text, "filename"), 200) or _name(content) or kind
    address = (media.embedded(data, mime, name, kind) if data else None) or _address(url, mime, name, kind)
    pieces: list[Shown] = []
    if address is not None:
        pieces.append(Element(kind, name, _mime(address, name), address))
    if markdown.web_address(url):
        # The page's Content-Security-Policy does not load what lies elsewhere.
        pieces.append(Block(f"↗ {markdown.link(name, url)}"))
    if not pieces:
        told = markdown.link(name, url[:200])
        pieces.append(Block(f"{told} (this cannot be shown as {'an image' if kind == 'image' else 'sound'})"))
    return pieces


def _address(url: str, mime: str, name: str, kind: media.Kind) -> str | None:
    if url[:5].lower() == "data:":
        return media.embedded(url, mime, name, kind)
    return markdown.web_address(url)


def _mime(address: str, name: str) -> str:
    return address[5:].partition(";")[0] if address.startswith("data:") else media.type_of(name)


def _chart(text: Members, content: Members) -> list[Shown]:
    data = _string(text, "data")
    try:
        option = jsontext.loads(data.encode())
    except jsontext.NotJson as error:
        return [Block(f"This chart is no JSON: {error}.\n\n{markdown.fenced(data)}")]
    option = markdown.plain(option)
    try:
        figure = charts.figure(option)
    except charts.CannotDraw as reason:
        return [Block(f"This chart is not drawn: {reason}.\n\n{markdown.fenced_json(option)}")]
    name = charts.title(option) or _name(content) or "chart"
    url = media.data_url("application/json", jsontext.dumps(figure))
    return [Element("plotly", markdown.line(name, 200), "application/json", url)]


def _references(text: Members, _: Members) -> list[Shown]:
    number = text.get("id")
    counted = number not in {None, ""} if isinstance(number, (int, str)) else False
    mark = f"**\\[{markdown.escaped(str(number), 20)}\\]**" if counted else "1."
    anchor = _string(text, "web_anchor")
    title = _string(text, "title") or anchor or _string(text, "doc_id") or _string(text, "source")
    details = dict.fromkeys((anchor, _string(text, "source"), _string(text, "date")))
    parts = [markdown.link(title or "–", _string(text, "url"))]
    parts += [markdown.escaped(detail, 100) for detail in details if detail not in {"", title}]
    excerpt = markdown.escaped(_string(text, "content"), 200)
    return [Block(f"{mark} {' · '.join(parts)}" + (f"\n   {excerpt}" if excerpt else ""))]


def _plan(text: Members, _: Members) -> list[Shown]:
    heads = [_bold(_string(text, "goal")), markdown.escaped(_string(text, "detail"), 2000)]
    heads.append(markdown.escaped(_string(text, "thought"), 2000))
    steps = [_task(task) for task in (*_list(text, "tasks"), *_list(text, "steps"))]
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
    told = "\n\n".join(part for part in (*heads, numbered) if part)
    return [Block(told)] if told else []


def _task(task: Any) -> str:
    if not isinstance(task, dict):
        raise _Malformed
    arguments = task.get("parameters") or task.get("arguments")
    parts = [
        _bold(_string(task, "name")),
        markdown.escaped(_string(task, "description") or _string(task, "thought")),
        markdown.code_span(_string(task, "tool")),
        markdown.code_span(jsontext.dumps(arguments).decode()) if arguments else "",
        f"({markdown.escaped(status, 40)})" if (status := _string(task, "status")) else "",
    ]
    return " ".join(part for part in parts if part) or "–"


def _bold(text: str) -> str:
    return f"**{escaped}**" if (escaped := markdown.escaped(text)) else ""


def _progress(text: Members, content: Members) -> list[Shown]:
    value = text.get("progress", 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Malformed
    fraction = float(min(max(value, 0), 1))
    cells = round(fraction * 20)
    parts = [f"`{'█' * cells}{'░' * (20 - cells)}` {fraction:.0%}"]
    parts += [markdown.escaped(_string(text, name), 200) for name in ("step", "message")]
    following = markdown.escaped(_string(text, "next_step_name"), 100)
    line = " · ".join(part for part in parts if part) + (f" → {following}" if following else "")
    return [Progress(_name(content) or "progress", fraction, line)]


def _browser(text: Members, content: Members) -> list[Shown]:
    result, goal, screenshot = (_object(text, name) for name in ("result", "thought", "screenshot"))
    lines = [
        _bold(_string(text, "query")),
        markdown.escaped(_string(goal, "next_goal")),
        markdown.escaped(_string(result, "answer"), 2000),
        markdown.link(_string(screenshot, "browser_url"), _string(screenshot, "browser_url"), say_host=False),
        markdown.fenced_json(text["action"]) if text.get("action") else "",
    ]
    pieces: list[Shown] = [Block(told)] if (told := "\n\n".join(line for line in lines if line)) else []
    if _string(screenshot, "data") or _string(screenshot, "url"):
        pieces += _image({**screenshot, "base64": screenshot.get("data")}, content)
    return pieces


_SHOW: dict[str, Callable[[Members, Members], list[Shown]]] = {
    "text": _text,
    "oral_text": _spoken,
    "reasoning_content": _reasoning,
    "code": _code,
    "json": _json,
    "function_call": _function_call,
    "urls": _urls,
    "files": _files,
    "image": _image,
    "audio": _audio,
    "chart": _chart,
    "references": _references,
    "plan": _plan,
    "progress": _progress,
    "browser": _browser,
}
