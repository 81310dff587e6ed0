"""Bringing sessions in from a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from appbuilder.core.catalogue import Catalogue
from appbuilder.errors import Forbidden, InvalidRequest
from appbuilder.ids import new_id
from appbuilder.serve.asgi import query
from appbuilder.serve.asgi.http import JSON, header_of, in_thread, read_json
from appbuilder.serve.asking import Identity
from appbuilder.wire import transcript
from appbuilder.wire.openapi_sessions import JSON_LINES
from appbuilder.wire.transcript import Transcript

KINDS = (JSON_LINES, "application/jsonl", JSON)


async def bring_in(request: Request, identity: Identity, catalogue: Catalogue, limit: int) -> dict[str, Any]:
    """Stores the sessions of a file, each whole, as the caller's; returns which, and which exist already.

    :param limit: bytes of the file.
    :raises InvalidRequest: a line cannot be read, or a session holds no turn: nothing is stored then. Or all
        of them exist already.
    :raises Forbidden: owners are to stay as they are in the file, and the caller is no administrator.
    :raises PayloadTooLarge, UnsupportedMediaType: the body is something else.
    """
    new_ids = query.choice(request, "ids", ("keep", "new")) == "new"
    of_all = query.flag(request, "all")
    if of_all and not identity.sees_all_others:
        raise Forbidden("To import sessions of others is for administrators.")
    body = await read_json(header_of(request.scope), request.receive, limit, KINDS)

    def store() -> dict[str, Any]:
        found = _read(body, trusted=of_all)
        imported, existing = [], []
        for each in found:
            session_id = new_id() if new_ids else each.conversation.session_id
            owner = each.conversation.owner if of_all else identity.owner
            if _stored(catalogue, session_id, owner, each):
                imported.append({"session_id": session_id, "rows": len(each.rows)})
            else:
                existing.append(session_id)
        if not imported:
            raise InvalidRequest("All sessions in the file exist already; with ids=new they get new ids.")
        return {"imported": imported, "existing": existing}

    return await in_thread(store)


def _read(body: bytes, *, trusted: bool) -> Sequence[Transcript]:
    found = list(transcript.read(body.split(b"\n"), trusted=trusted))
    if not found:
        raise InvalidRequest("There is no session in the file.")
    for each in found:
        if next(transcript.turns(each.rows), None) is None:
            raise InvalidRequest(f"There is no turn in the session {each.conversation.session_id!r}.")
    return found


def _stored(catalogue: Catalogue, session_id: str, owner: str | None, session: Transcript) -> bool:
    """False: it exists already."""
    if catalogue.owner_of(session_id)[0]:
        return False
    try:
        catalogue.import_rows(session_id, owner, session.conversation.title, session.rows)
    except InvalidRequest:
        if catalogue.owner_of(session_id)[0]:
            return False  # somebody was faster
        raise
    return True
