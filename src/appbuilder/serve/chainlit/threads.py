"""From the rows of a conversation to what Chainlit's page shows of it; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from appbuilder.core.catalogue import FEEDBACK_KEY, Conversation, Rating, StoredRow
from appbuilder.core.message import text_of
from appbuilder.core.store import FAILED, INCOMPLETE, STATE, TURN_KEY
from appbuilder.serve.chainlit import steps
from appbuilder.serve.chainlit.composer import Composer
from appbuilder.serve.chainlit.outputs.markdown import escaped
from appbuilder.serve.chainlit.steps import Place, Step
from appbuilder.serve.chainlit.texts import text
from appbuilder.wire.transcript import turns

Thread = dict[str, Any]
"""``chainlit.types.ThreadDict``."""


def listed(conversation: Conversation, viewer: str) -> Thread:
    """A conversation as the side bar shows it; whoever may see it is its author there."""
    return {
        "id": conversation.session_id,
        "createdAt": steps.iso(conversation.updated_at),
        "name": conversation.title,
        "userId": viewer,
        "userIdentifier": viewer,
        "tags": [],
        "metadata": {},
        "steps": [],
        "elements": [],
    }


def opened(
    conversation: Conversation,
    viewer: str,
    rows: Sequence[StoredRow],
    *,
    author: str,
    language: str,
    whole: bool = True,
) -> Thread:
    """A conversation with all that was said in it.

    :param rows: in their order; of all keys.
    :param author: the assistant's name.
    :param whole: False: there are earlier rows than these.
    """
    thread = listed(conversation, viewer)
    ratings = dict(_ratings(rows))
    told = list(turns(rows))
    if not whole and len(told) > 1 and told[0][-1].key != TURN_KEY:
        # Its beginning may not be among the rows: its answer would stand as a question.
        del told[0]
    asked: Counter[str] = Counter()
    for group in told:
        request_id, last = group[0].request_id, group[-1]
        asked[request_id] += 1
        if asked[request_id] > 1:  # programs may use an id again; on the page each message has its own
            request_id += f".{asked[request_id]}"
        if last.key == TURN_KEY:
            place = Place(conversation.session_id, request_id, last.id, author, language)
            _tell_turn(thread, place, last, ratings.get(last.id))
        else:
            place = Place(conversation.session_id, request_id, group[0].id, author, language)
            _tell_rows(thread, place, group)
    if not whole and thread["steps"]:
        first = thread["steps"][0]
        note = steps.part(Place(conversation.session_id, "", "earlier", author, language), 0,
                          f"*{text('earlier', language)}*", rows[0].created_at)
        thread["steps"].insert(0, {**note, "parentId": first["parentId"]})
    return thread


def _ratings(rows: Sequence[StoredRow]) -> Iterator[tuple[str, Rating]]:
    for row in rows:
        if row.key == FEEDBACK_KEY and isinstance(row.value, dict):
            value = row.value
            yield str(value.get("turn")), Rating(bool(value.get("good")), str(value.get("comment") or ""))


def _tell_turn(thread: Thread, place: Place, row: StoredRow, rating: Rating | None) -> None:
    """A turn of a page or of the service: its own row says it all."""
    value: Mapping[str, Any] = row.value if isinstance(row.value, dict) else {}
    at = row.created_at
    told: list[Step] = thread["steps"]
    told.append(steps.said(place, _content(value.get("input")) + _given(value.get("attachments")), at))
    told.append(steps.run(place, at, at, rating))
    for call in value.get("steps") or ():
        told.append(steps.deed(place, call, _time(call.get("started_at"), at), ended=True))
    composer = Composer()
    pieces = value.get("pieces")
    composer.feed(pieces if isinstance(pieces, list) else [_content(value.get("answer"))])
    composer.end()
    if value.get(STATE) == INCOMPLETE:
        composer.close(steps.stopped_line(place.language))
    _tell_parts(thread, place, composer, at)
    if value.get(STATE) == FAILED:
        told.append(steps.failure(place, steps.error_line(place, value.get("error") or {}), at))


def _tell_rows(thread: Thread, place: Place, group: Sequence[StoredRow]) -> None:
    """What a component appended in one request: first what was asked, last what was answered."""
    told: list[Step] = thread["steps"]
    first, last = group[0], group[-1]
    at = first.created_at
    if len(group) > 1 or not _is_answer(first):
        told.append(steps.said(place, _content(first.value), at))
    told.append(steps.run(place, at, last.created_at))
    for number, row in enumerate(group[1:-1]):
        told.append(steps.folded(place, number + 1, row.key, _content(row.value), row.created_at))
    if len(group) > 1 or _is_answer(first):
        composer = Composer()
        composer.feed([_content(last.value)])
        composer.end()
        if isinstance(last.value, dict) and last.value.get(STATE) == INCOMPLETE:
            composer.close(steps.stopped_line(place.language))
        _tell_parts(thread, place, composer, last.created_at + timedelta(milliseconds=1))


def _tell_parts(thread: Thread, place: Place, composer: Composer, at: datetime) -> None:
    for part in composer.parts:
        if part.fold:
            thread["steps"].append(steps.folded(place, part.number, part.fold, part.markdown, at))
        else:
            thread["steps"].append(steps.part(place, part.number, part.markdown, at))
        thread["elements"] += [steps.element(place, part.number, each) for each in part.elements]


def _is_answer(row: StoredRow) -> bool:
    return isinstance(row.value, dict) and ("token_usage" in row.value or "extra" in row.value)


def _given(attachments: Any) -> str:
    """The names of the files that came with a message."""
    named = attachments if isinstance(attachments, list) else []
    return "".join(f"\n\n📎 {escaped(str(each.get('name')), 200)}" for each in named)


def _content(message: Any) -> str:
    return text_of(message.get("content") if isinstance(message, dict) else message)


def _time(written: Any, otherwise: datetime) -> datetime:
    try:
        return datetime.fromisoformat(str(written))
    except ValueError:
        return otherwise
