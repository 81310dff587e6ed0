"""From the rows of a conversation to what Chainlit's page shows of it; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from appbuilder.core.conversations import Conversation, Rating, StoredRow, shown
from appbuilder.core.conversations import Place as RowPlace
from appbuilder.core.events import RunEvent
from appbuilder.core.message import text_of
from appbuilder.core.store import FAILED, INCOMPLETE, STATE, TURN_KEY
from appbuilder.engine.fold import stored_events
from appbuilder.serve.page import page_steps
from appbuilder.serve.page.composer import Composer, Done, Part
from appbuilder.serve.page.page_steps import ItemIds, Step
from appbuilder.serve.page.page_texts import text
from appbuilder.serve.page.turn_window import Window

Thread = dict[str, Any]
"""``chainlit.types.ThreadDict``."""

MOST_CHARACTERS = 100_000
"""Characters of one message that are shown; browsers take seconds to lay out the Markdown of more."""


def listed(conversation: Conversation, viewer: str) -> Thread:
    """A conversation as the side bar shows it; whoever may see it is its author there."""
    return {
        "id": conversation.session_id,
        "createdAt": page_steps.iso(conversation.updated_at),
        "name": conversation.title,
        "userId": viewer,
        "userIdentifier": viewer,
        "tags": [],
        "metadata": {},
        "steps": [],
        "elements": [],
    }


def opened(conversation: Conversation, viewer: str, window: Window, *, author: str, language: str) -> Thread:
    """A conversation with its newest turns.

    :param author: the assistant's name.
    """
    thread = listed(conversation, viewer)
    ratings = dict(_ratings(window.ratings))
    asked: Counter[str] = Counter()
    for group in window.turns:
        request_id, last = group[0].request_id, group[-1]
        asked[request_id] += 1
        if asked[request_id] > 1:  # programs may use an id again; on the page each message has its own
            request_id += f".{asked[request_id]}"
        if last.key == TURN_KEY:
            place = ItemIds(conversation.session_id, request_id, last.id, author, language)
            _add_turn(thread, place, last, ratings.get(last.id))
        else:
            place = ItemIds(conversation.session_id, request_id, group[0].id, author, language)
            _add_rows(thread, place, group)
    if window.earlier is not None and thread["steps"]:
        first = thread["steps"][0]
        place = ItemIds(conversation.session_id, "", "earlier", author, language)
        link = _link(place, window.earlier, text("earlier", language))
        note = page_steps.part(place, 0, f"*{link}*", window.turns[0][0].created_at)
        thread["steps"].insert(0, {**note, "parentId": first["parentId"]})
    return thread


def earlier_address(session_id: str, before: RowPlace | None) -> str:
    """Where the turns before a place are shown as a plain page."""
    here = f"/thread/{quote(session_id, safe='')}/earlier"
    if before is None:
        return here
    at, row_id = before
    return f"{here}?before={at.isoformat(timespec='microseconds')}~{row_id}"


def _link(place: ItemIds, before: RowPlace, words: str) -> str:
    return f"[{words}]({earlier_address(place.session_id, before)})"


def _ratings(rows: Sequence[StoredRow]) -> Iterator[tuple[str, Rating]]:
    for row in rows:
        if isinstance(row.value, dict):
            value = row.value
            yield str(value.get("turn")), Rating(bool(value.get("good")), str(value.get("comment") or ""))


def _add_turn(thread: Thread, place: ItemIds, row: StoredRow, rating: Rating | None) -> None:
    """A turn of a page or of the service: its own row says it all."""
    value: Mapping[str, Any] = row.value if isinstance(row.value, dict) else {}
    at = row.created_at
    told: list[Step] = thread["steps"]
    _add_question(thread, place, _content(value.get("input")), at, _given(value.get("attachments")))
    told.append(page_steps.run(place, at, at, rating))
    _add_rest(thread, place, row, _content(value.get("input")), at)
    composer = Composer()
    _feed(composer, place, row, stored_events(value))
    given = value.get("error")
    error: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    # A turn that a limit cut is incomplete, too, and its row says why; one that was stopped has no error.
    failed = value.get(STATE) == FAILED or bool(error)
    _close(composer, place, None if failed else value.get(STATE), value.get("answer"))
    _add_parts(thread, place, composer, at)
    if failed:
        told.append(page_steps.failure(place, page_steps.error_line(place, error), at))


def _add_rows(thread: Thread, place: ItemIds, group: Sequence[StoredRow]) -> None:
    """What a component appended in one request: first what was asked, last what was answered."""
    told: list[Step] = thread["steps"]
    first, last = group[0], group[-1]
    at = first.created_at
    if len(group) > 1 or not _is_answer(first):
        _add_question(thread, place, _content(first.value), at)
    told.append(page_steps.run(place, at, last.created_at))
    if len(group) > 1:
        _add_rest(thread, place, last, _content(first.value), at)
    for number, row in enumerate(group[1:-1]):
        words = _shortened(place, last, _content(row.value))
        told.append(page_steps.folded(place, number + 1, row.key, words, row.created_at))
    if len(group) > 1 or _is_answer(first):
        composer = Composer()
        _feed(composer, place, last, [RunEvent(1, "text", {"delta": _content(last.value)})])
        if isinstance(last.value, dict):
            _close(composer, place, last.value.get(STATE), last.value)
        _add_parts(thread, place, composer, last.created_at + timedelta(milliseconds=1))


def _close(composer: Composer, place: ItemIds, state: Any, answer: Any) -> None:
    """Says below an answer that it is not whole."""
    language = place.language
    line = page_steps.stopped_line(language) if state == INCOMPLETE else page_steps.cut_line(language, answer)
    if line:
        composer.close(line)


def _add_question(
    thread: Thread, place: ItemIds, words: str, at: datetime, given: str = ""
) -> None:
    """What was asked, or its beginning: the page shows it as it was written, not as Markdown."""
    begun = words if len(words) <= MOST_CHARACTERS else f"{words[:MOST_CHARACTERS]}…"
    thread["steps"].append(page_steps.said(place, begun + given, at))


def _add_rest(thread: Thread, place: ItemIds, row: StoredRow, words: str, at: datetime) -> None:
    """Where the rest of a question is, under the run: there links work."""
    if len(words) > MOST_CHARACTERS:
        thread["steps"].append(page_steps.part(place, -1, f"*↑ {_rest(place, row)}*", at))


def _add_parts(thread: Thread, place: ItemIds, composer: Composer, at: datetime) -> None:
    for item in composer.items:
        if isinstance(item, Done):
            thread["steps"].append(page_steps.done(place, replace(item, ended=True), at))
        elif item.fold:
            thread["steps"].append(page_steps.folded(place, item.number, item.fold, item.markdown, at))
        else:
            thread["steps"].append(page_steps.part(place, item.number, item.markdown, at))
        if isinstance(item, Part):
            thread["elements"] += [page_steps.element(place, item.number, each) for each in item.elements]


def _feed(composer: Composer, place: ItemIds, row: StoredRow, events: Iterable[RunEvent]) -> None:
    """The whole answer, or its beginning and where the rest is."""
    room = MOST_CHARACTERS
    for event in events:
        text = event.data.get("delta") if event.kind == "text" else ""
        if isinstance(text, str) and len(text) > room:
            composer.feed([RunEvent(event.seq, "text", {"delta": text[:room]})])
            composer.close(f"*… {_rest(place, row)}*")
            return
        composer.feed([event])
        room -= len(text) if isinstance(text, str) else 0
    composer.end()


def _shortened(place: ItemIds, row: StoredRow, words: str) -> str:
    return words if len(words) <= MOST_CHARACTERS else f"{words[:MOST_CHARACTERS]}\n\n… {_rest(place, row)}"


def _rest(place: ItemIds, row: StoredRow) -> str:
    """A link to the whole of the turn that ends with *row*."""
    after = (row.created_at + timedelta(microseconds=1), "")
    return _link(place, after, text("whole", place.language))


def _is_answer(row: StoredRow) -> bool:
    return isinstance(row.value, dict) and ("token_usage" in row.value or "extra" in row.value)


def _given(attachments: Any) -> str:
    """The names of the files that came with a message."""
    named = attachments if isinstance(attachments, list) else []
    return "".join(f"\n\n📎 {shown(str(each.get('name')))[:200]}" for each in named)


def _content(message: Any) -> str:
    return text_of(message.get("content") if isinstance(message, dict) else message)
