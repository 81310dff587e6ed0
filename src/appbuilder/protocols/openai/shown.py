"""What the OpenAI APIs show of a run's log: text, typed outputs as text, files as links, and reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from appbuilder.core.events import Entry, LoggedEvent, is_piece, text_in
from appbuilder.core.message import text_of
from appbuilder.engine.fold import stored_events, valid
from appbuilder.engine.log import RunLog

_FILE = "file"
_URL = "!#$%&'()*+,/:;=?@[]~"
"""What may stand in a URL as it is (RFC 3986)."""


def is_shown(entry: Entry) -> bool:
    """Whether an entry is part of the text that is shown."""
    return is_piece(entry) or entry.kind == _FILE  # type: ignore[union-attr]


def is_reasoning(entry: Entry) -> bool:
    """Whether an entry is reasoning."""
    return type(entry) is not str and entry.kind == "reasoning"  # type: ignore[union-attr]


def shown_text(entry: Entry) -> str:
    """The text of an entry; of a file a Markdown link."""
    if isinstance(entry, str) or entry.kind != _FILE:
        return text_in(entry)
    name = str(entry.data.get("name", "")).replace("[", "(").replace("]", ")")
    return f"[{name}](<{quote(str(entry.data.get('url', '')), safe=_URL)}>)"


def whole_text(log: RunLog, content: Any) -> Any:
    """The text of a whole answer: its *content*, with links to its files where the log has some."""
    entries = valid(log.entries) if log.others else ()
    links = [entry for entry in entries if not is_piece(entry) and is_shown(entry)]
    if not links:
        return content
    shown = [shown_text(entry) for entry in entries if is_shown(entry)]
    return "".join(shown) if log.count else text_of(content) + "".join(map(shown_text, links))


def stored_text(value: Mapping[str, Any]) -> Any:
    """:func:`whole_text` of a stored turn: what was shown of it when it was made."""
    answer = value.get("answer")
    content = answer.get("content") if isinstance(answer, Mapping) else answer
    events = list(stored_events(value))
    if not any(event.kind == _FILE for event in events):
        return content
    entries = [
        each.data["delta"] if each.kind == "text" else LoggedEvent(each.kind, each.data) for each in events
    ]
    return "".join(shown_text(entry) for entry in entries if is_shown(entry))


def reasoning(log: RunLog) -> str:
    """All reasoning of a run as one text."""
    entries = valid(log.entries) if log.others else ()
    return "".join(entry.data["delta"] for entry in entries if is_reasoning(entry))  # type: ignore[union-attr]
