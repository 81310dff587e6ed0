"""Bringing sessions in from a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from appbuilder.core.catalogue import Owner
from appbuilder.errors import Forbidden, InvalidRequest, SessionBusy
from appbuilder.ids import new_id
from appbuilder.serve.asgi import query
from appbuilder.serve.asgi.http import JSON, header_of, in_thread, read_json
from appbuilder.serve.asgi.service import Service
from appbuilder.serve.asking import Identity
from appbuilder.store import imported
from appbuilder.wire import transcript
from appbuilder.wire.openapi_sessions import JSON_LINES
from appbuilder.wire.transcript import Transcript

KINDS = (JSON_LINES, "application/jsonl", JSON)


async def bring_in(request: Request, identity: Identity, service: Service) -> dict[str, Any]:
    """Stores the sessions of a file, each whole, as the caller's; returns which, which exist already, and how
    many there were without a turn.

    :raises InvalidRequest: a line cannot be read, something cannot be stored, or there is no turn in it all:
        nothing is stored then. Or all sessions exist already.
    :raises SessionBusy: so it is, but one of them is only being begun, by a turn under way.
    :raises Forbidden: owners are to stay as they are in the file, and the caller is no administrator.
    :raises PayloadTooLarge, UnsupportedMediaType: the body is something else.
    """
    new_ids = query.choice(request, "ids", ("keep", "new")) == "new"
    of_all = query.flag(request, "all")
    if of_all and not identity.sees_all_others:
        raise Forbidden("To import sessions of others is for administrators.")
    limit = service.settings.max_body
    body = await read_json(header_of(request.scope), request.receive, limit, KINDS)

    def store() -> dict[str, Any]:
        found = _read(body, trusted=of_all)
        said = [each for each in found if imported.has_turn(each.rows)]
        if not said:
            raise InvalidRequest("There is no turn in the file.")
        for each in said:
            imported.check(each.conversation.session_id, each.rows)
        bringing = _Bringing(service)
        for each in said:
            session_id = new_id() if new_ids else each.conversation.session_id
            bringing.bring(session_id, each.conversation.owner if of_all else identity.owner, each)
        return {**bringing.told(), "empty": len(found) - len(said)}

    return await in_thread(store)


def _read(body: bytes, *, trusted: bool) -> Sequence[Transcript]:
    found = list(transcript.read(body.split(b"\n"), trusted=trusted))
    if not found:
        raise InvalidRequest("There is no session in the file.")
    return found


class _Bringing:
    """What has become of the sessions of a file."""

    def __init__(self, service: Service) -> None:
        self._catalogue = service.store.catalogue()
        self._engine = service.engine()
        self._imported: list[dict[str, Any]] = []
        self._existing: list[str] = []
        self._busy: SessionBusy | None = None

    def bring(self, session_id: str, owner: Owner, session: Transcript) -> None:
        """Stores a session, or notes that it exists already."""
        try:
            stored = self._store(session_id, owner, session)
        except SessionBusy as error:  # it will exist in a moment, and those before it are stored
            self._busy, stored = error, False
        if stored:
            self._imported.append({"session_id": session_id, "rows": len(session.rows)})
        else:
            self._existing.append(session_id)

    def told(self) -> dict[str, Any]:
        """:raises InvalidRequest, SessionBusy: nothing was stored."""
        if not self._imported:
            raise self._busy or InvalidRequest(
                "All sessions in the file exist already; with ids=new they get new ids."
            )
        return {"imported": self._imported, "existing": self._existing}

    def _store(self, session_id: str, owner: Owner, session: Transcript) -> bool:
        if self._catalogue.owner_of(session_id)[0]:
            return False
        try:
            # As a turn has it: its first one may be under way, and somebody else's.
            with self._engine.alone(session_id):
                self._catalogue.import_rows(session_id, owner, session.conversation.title, session.rows)
        except InvalidRequest:
            if self._catalogue.owner_of(session_id)[0]:
                return False  # somebody was faster
            raise
        return True
