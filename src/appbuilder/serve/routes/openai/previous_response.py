"""Which session a response goes on with that names an earlier response or its items. It all blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from appbuilder.core.conversations import StoredRow
from appbuilder.core.message import text_of
from appbuilder.core.store import COMPLETE
from appbuilder.engine.turn_request import SessionCheck
from appbuilder.errors import AppBuilderError, PayloadTooLarge
from appbuilder.protocols.openai.response_objects import (
    no_item,
    no_response,
    not_newest,
    response_id,
    turn_of_item,
)
from appbuilder.protocols.rest.transcript import turn_view
from appbuilder.serve.auth.authorization import may_continue, may_see
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.http.state import Service
from appbuilder.serve.routes.turn_pages import newest_turn_ids

_AT_ONCE = 4
"""Turns read in one look: each may be many megabytes."""
_MOST_TRIES = 20
"""Turns without an answer after which a response can still be gone on from."""
_MOST_ITEMS = 1000
_MOST_TEXT = 8 * 1024 * 1024
"""Characters of all the texts a request may refer to."""


@dataclass(frozen=True, slots=True)
class PreviousResponse:
    """Where a request goes on.

    :param session_id: None: the session went on after what the request names, which begins a conversation.
    :param guard: refuses where the session goes on meanwhile.
    :param texts: what the items say that the request refers to, by their ids.
    """

    session_id: str | None
    guard: SessionCheck | None
    texts: Mapping[str, str] = field(default_factory=dict)


def after_response(service: Service, identity: Identity, turn_id: str) -> PreviousResponse:
    """Where a request goes on that names a response.

    :raises NotFound: there is no such response, or its session is not the caller's.
    """
    session_id = service.store.repository().conversation_of(turn_id)
    if session_id is None or not _is_callers(service, identity, session_id):
        raise no_response(response_id(turn_id), "previous_response_id")
    return PreviousResponse(session_id, _newest(service, session_id, turn_id, not_newest))


def after_items(service: Service, identity: Identity, references: Sequence[str]) -> PreviousResponse:
    """Where a request goes on whose input refers to items: with the session of the last of them.

    :raises NotFound: there is no such item, or its session is not the caller's.
    :raises PayloadTooLarge: they say more than is read at once.
    """
    if len(references) > _MOST_ITEMS:
        raise PayloadTooLarge(f"The input refers to more than {_MOST_ITEMS} items.")
    turn_id = turn_of_item(references[-1])
    session_id, _ = _turns(service, identity, references[-1:])[references[-1]]
    texts = _texts(service, identity, list(dict.fromkeys(references)))
    if not _is_newest(service, session_id, turn_id):
        return PreviousResponse(None, None, texts)
    newest = _newest(service, session_id, turn_id, lambda: not_newest("input"))
    return PreviousResponse(session_id, newest, texts)


def _texts(service: Service, identity: Identity, items: Sequence[str]) -> Mapping[str, str]:
    texts: dict[str, str] = {}
    size = 0
    for at in range(0, len(items), _AT_ONCE):
        for item, (_, row) in _turns(service, identity, items[at : at + _AT_ONCE]).items():
            texts[item] = text_of(turn_view([row]).answer)
            size += len(texts[item])
        if size > _MOST_TEXT:
            raise PayloadTooLarge(f"The items referred to are longer than {_MOST_TEXT} characters.")
    return texts


def stored_turn(service: Service, identity: Identity, turn_id: str) -> tuple[str, StoredRow]:
    """Session and row of a response that can be read.

    :raises NotFound: there is no such response, or the caller may not see it.
    """
    repository = service.store.repository()
    found = repository.own_turns([turn_id]).get(turn_id)
    if found is None:
        raise no_response(response_id(turn_id))
    exists, owner = repository.owner_of(found[0])
    if not exists or not may_see(identity, owner):
        raise no_response(response_id(turn_id))
    return found


def _turns(service: Service, identity: Identity, items: Sequence[str]) -> Mapping[str, tuple[str, StoredRow]]:
    """Session and row of the turn whose answer each item is.

    :raises NotFound: there is no such item, or its session is not the caller's.
    """
    ids = {item: turn_of_item(item) for item in items}
    found = service.store.repository().own_turns(list(ids.values()))
    allowed = {name for name in {name for name, _ in found.values()} if _is_callers(service, identity, name)}
    for item, turn_id in ids.items():
        if turn_id not in found or found[turn_id][0] not in allowed:
            raise no_item(item)
    return {item: found[turn_id] for item, turn_id in ids.items()}


def _is_callers(service: Service, identity: Identity, session_id: str) -> bool:
    exists, owner = service.store.repository().owner_of(session_id)
    return exists and may_continue(identity, owner)


def _is_newest(service: Service, session_id: str, turn_id: str) -> bool:
    """Whether nothing was answered after this turn: what failed or was stopped can be asked again."""
    repository = service.store.repository()
    ids = newest_turn_ids(repository, session_id)
    if turn_id not in ids:
        return False
    later = ids[ids.index(turn_id) + 1 :]
    if len(later) > _MOST_TRIES:
        return False
    for each in later:  # one by one: each may be many megabytes
        found = repository.own_turns([each]).get(each)
        if found is None or turn_view([found[1]]).state == COMPLETE:
            return False
    return True


def _newest(
    service: Service, session_id: str, turn_id: str, refusal: Callable[[], AppBuilderError]
) -> SessionCheck:
    """Refuses where the session went on after this turn, which others may bring about meanwhile."""

    def guard() -> bool:
        if not _is_newest(service, session_id, turn_id):
            raise refusal()
        return False

    return guard
