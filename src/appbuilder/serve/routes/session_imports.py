"""Bringing sessions in from a file."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from starlette.requests import Request

from appbuilder.core.conversations import NewSession
from appbuilder.errors import Forbidden, InvalidRequest, PayloadTooLarge, SessionBusy
from appbuilder.ids import new_id
from appbuilder.logs import logger
from appbuilder.protocols.body import JSON
from appbuilder.protocols.openapi.sessions import JSON_LINES
from appbuilder.protocols.rest import transcript
from appbuilder.protocols.rest.transcript import Transcript
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.http import query_parameters
from appbuilder.serve.http.long_requests import ClientDisconnected, in_slices, presence
from appbuilder.serve.http.messages import header_of, read_json
from appbuilder.serve.http.state import Service, one_writer
from appbuilder.serve.http.thread_pools import BULK, WRITES
from appbuilder.store.conversations import imports

KINDS = (JSON_LINES, "application/jsonl", JSON)
ROWS_AT_ONCE = 200
"""Rows after which a transaction is ended, once the session it is at is whole."""


async def import_file(request: Request, identity: Identity, service: Service) -> dict[str, Any]:
    """Stores the sessions of a file, each whole, as the caller's; returns which, which exist already, and how
    many there were without a turn.

    The file is read twice: first to the end, so that nothing is stored of one that is refused; then some
    sessions at a time are read and stored.

    :raises InvalidRequest: a line cannot be read, something cannot be stored, or there is no turn in it all:
        nothing is stored then. Or all sessions exist already.
    :raises SessionBusy: so it is, but one of them is only being begun, by a turn under way.
    :raises Forbidden: owners are to stay as they are in the file, and the caller is no administrator.
    :raises PayloadTooLarge: the body is too large, or has too many sessions or lines; nothing is stored then.
    :raises UnsupportedMediaType: the body is something else.
    :raises ClientDisconnected: the client has left. What was stored until then stays.
    """
    new_ids = query_parameters.choice(request, "ids", ("keep", "new")) == "new"
    of_all = query_parameters.flag(request, "all")
    if of_all and not identity.sees_all_others:
        raise Forbidden("To import sessions of others is for administrators.")
    limit = service.settings.max_body
    body = await read_json(header_of(request.scope), request.receive, limit, KINDS)
    bringing = _Bringing(service, identity, body, new_ids=new_ids, of_all=of_all)
    async with presence(request.receive) as here:
        try:
            await in_slices(BULK, bringing.check(), here)
            await in_slices(WRITES, bringing.store(), here, writing=one_writer(service))
        except ClientDisconnected:
            logger.info("an import was stopped, as its client has left: %d sessions of it are stored",
                        len(bringing.imported))
            raise
    return bringing.told()


class _Bringing:
    """A file, and what has become of its sessions."""

    def __init__(
        self, service: Service, identity: Identity, body: bytes, *, new_ids: bool, of_all: bool
    ) -> None:
        self.imported: list[dict[str, Any]] = []
        self._settings = service.settings
        self._repository = service.store.repository()
        self._engine = service.engine()
        self._owner = identity.owner
        self._body = body
        self._new_ids = new_ids
        self._of_all = of_all
        self._existing: list[str] = []
        self._busy: SessionBusy | None = None
        self._empty = 0

    def check(self) -> Iterator[None]:
        """Reads the file to its end, and steps at each session.

        :raises InvalidRequest, PayloadTooLarge: it is refused.
        """
        found, most = 0, self._settings.import_sessions
        for each in self._sessions():
            found += 1
            if found > most:
                raise PayloadTooLarge(
                    f"The file has more than {most} sessions: import it in parts, or with "
                    "`appbuilder sessions import`."
                )
            if imports.has_turn(each.rows):
                imports.check(each.conversation.session_id, each.rows)
            else:
                self._empty += 1
            yield
        if not found:
            raise InvalidRequest("There is no session in the file.")
        if found == self._empty:
            raise InvalidRequest("There is no turn in the file.")

    def store(self) -> Iterator[None]:
        """Reads it again and stores its sessions, and steps at each transaction."""
        some: list[NewSession] = []
        for each in self._sessions():
            if not imports.has_turn(each.rows):
                continue
            listed = each.conversation
            session_id = new_id() if self._new_ids else listed.session_id
            owner = listed.owner if self._of_all else self._owner
            some.append(NewSession(session_id, owner, listed.title, each.rows))
            if sum(len(one.rows) for one in some) >= ROWS_AT_ONCE:
                self._bring(some)
                some = []
                yield
        if some:
            self._bring(some)

    def told(self) -> dict[str, Any]:
        """:raises InvalidRequest, SessionBusy: nothing was stored."""
        if not self.imported:
            raise self._busy or InvalidRequest(
                "All sessions in the file exist already; with ids=new they get new ids."
            )
        return {"imported": self.imported, "existing": self._existing, "empty": self._empty}

    def _sessions(self) -> Iterator[Transcript]:
        # A list of all lines would be many times the file.
        lines = io.BytesIO(self._body)
        most_lines, max_values = self._settings.import_lines, self._settings.max_values
        return transcript.read(lines, trusted=self._of_all, most_lines=most_lines, max_values=max_values)

    def _bring(self, some: Sequence[NewSession]) -> None:
        """Stores sessions, or notes that they exist already."""
        with ExitStack() as kept:
            free = [each for each in some if self._reserve(each.session_id, kept)]
            stored = self._repository.import_sessions(free)
            written = {each.session_id for each, done in zip(free, stored, strict=True) if done}
        for each in some:
            if each.session_id in written:
                written.remove(each.session_id)  # it may stand in the file twice
                self.imported.append({"session_id": each.session_id, "rows": len(each.rows)})
            else:
                self._existing.append(each.session_id)

    def _reserve(self, session_id: str, kept: ExitStack) -> bool:
        """Keeps turns from a session, as one would have it: its first may be under way, and another owner's.

        False: it exists, or will in a moment.
        """
        if self._repository.owner_of(session_id)[0]:
            return False
        try:
            kept.enter_context(self._engine.alone(session_id))
        except SessionBusy as error:
            self._busy = error
            return False
        return True
