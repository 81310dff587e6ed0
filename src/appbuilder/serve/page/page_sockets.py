"""What browsers say over the page's socket, checked before Chainlit sees it.

Chainlit takes a browser at its word: the session's id it says becomes the name of a folder that is removed
with the session, the conversation's id it says is the one its messages go to, and what it calls ``connect``
is taken for a connection. Here ids are checked, and a conversation is opened only for whose it is.
"""

from __future__ import annotations

import contextlib
from typing import Any

from appbuilder.errors import AppBuilderError
from appbuilder.ids import is_new_id, new_id
from appbuilder.serve.page.data_layer import CatalogueLayer, is_conversation_id, request_info
from appbuilder.serve.page.page_requests import MOST_FILES
from appbuilder.serve.page.page_turns import PageTurns


def listen(chainlit: Any, turns: PageTurns, layer: CatalogueLayer, *, uploads: bool = False) -> None:
    """Puts our handlers in the place of Chainlit's; what the page does not use has none."""
    sockets = _Sockets(chainlit, turns, layer, uploads=uploads)
    handlers = chainlit.server.sio.handlers["/"]
    handlers.clear()
    handlers.update(
        connect=sockets.connect,
        disconnect=sockets.disconnected,
        connection_successful=sockets.hello,
        client_message=sockets.message,
        stop=sockets.stop,
        clear_session=sockets.leave,
    )


class _Sockets:
    """The handlers. A client may send any event with anything in it: what does not fit is passed over."""

    def __init__(self, chainlit: Any, turns: PageTurns, layer: CatalogueLayer, *, uploads: bool) -> None:
        from chainlit import socket
        from chainlit.session import WebsocketSession

        self._sio = chainlit.server.sio
        self._chainlit = socket
        self._sessions = WebsocketSession
        self._turns = turns
        self._layer = layer
        self._uploads = uploads

    async def connect(self, sid: str, environ: Any = None, auth: Any = None, *_: Any) -> bool:
        """:raises ConnectionRefusedError: an unknown caller, or not what a page sends."""
        if environ is not self._sio.get_environ(sid):
            return False  # an event of this name, and no connection
        session_id, thread_id = _read(auth)
        own = await self._is_own(thread_id)
        said = {"sessionId": session_id, "threadId": None, "clientType": "webapp"}
        await self._chainlit.connect(sid, environ, said)
        session = self._sessions.require(sid)
        if not session.restored:
            # One that is not there, or another's, Chainlit tells the browser of; what is said goes elsewhere.
            session.thread_id_to_resume = thread_id
            session.thread_id = thread_id if own else new_id()
        return True

    async def disconnected(self, sid: str, *_: Any) -> None:
        """The socket is gone; its session waits some minutes for another."""
        session = self._sessions.get(sid)
        if session is not None:
            self._turns.tabs.left(session)
        await self._chainlit.disconnect(sid)

    async def hello(self, sid: str, *_: Any) -> None:
        """The page is ready."""
        if self._session(sid) is None:
            return
        await self._chainlit.connection_successful(sid)
        session = self._session(sid)
        if session is None:
            return
        if self._turns.tabs.came_back(session):
            await self._redraw(session)
        self._turns.watch(session, request_info().language)

    async def _redraw(self, session: Any) -> None:
        """Shows the conversation as it is stored, in a browser that was away while something was said."""
        with contextlib.suppress(AppBuilderError):
            thread = await self._layer.get_thread(session.thread_id)
            if thread is not None:
                await session.emit("resume_thread", thread)

    async def message(self, sid: str, payload: Any = None, *_: Any) -> None:
        """The user said something."""
        session = self._session(sid)
        message = payload.get("message") if isinstance(payload, dict) else None
        if session is None or not isinstance(message, dict):
            return
        message_id, words = message.get("id"), message.get("output")
        if is_new_id(message_id) and isinstance(words, str):
            if await self._turns.refuse_long(session, request_info().language, message_id, words):
                return
            files = _files(payload.get("fileReferences"), session) if self._uploads else []
            said = {"message": _step(message_id, words), "fileReferences": files}
            await self._chainlit.message(sid, said)

    async def stop(self, sid: str, *_: Any) -> None:
        """Ends the turns. Chainlit's own says so in English and only ends what shows them."""
        session = self._session(sid)
        if session is not None:
            await self._turns.stop(session.thread_id)

    async def leave(self, sid: str, *_: Any) -> None:
        """The browser goes to another conversation; it will not come back to this session."""
        if self._session(sid) is not None:
            await self._chainlit.clean_session(sid)

    def _session(self, sid: str) -> Any:
        """Chainlit's session of this socket; None: it does not exist, or another speaks than who opened
        it."""
        session = self._sessions.get(sid)
        return (
            session
            if session is not None and session.user.identifier == request_info().identity.owner
            else None
        )

    async def _is_own(self, thread_id: str | None) -> bool:
        try:
            return thread_id is not None and bool(await self._layer.get_thread_author(thread_id))
        except AppBuilderError:
            raise ConnectionRefusedError("The conversation cannot be opened now.") from None


def _read(auth: Any) -> tuple[str, str | None]:
    """The session's id and, where one is to be opened, the conversation's.

    :raises ConnectionRefusedError: they are none.
    """
    said = auth if isinstance(auth, dict) else {}
    session_id, thread_id = said.get("sessionId"), said.get("threadId") or None
    if not is_new_id(session_id):
        raise ConnectionRefusedError("This is no session.")
    if thread_id is not None and not is_conversation_id(thread_id):
        raise ConnectionRefusedError("This is no conversation.")
    return session_id, thread_id


def _files(references: Any, session: Any) -> list[dict[str, str]]:
    """Those of *references* that this browser has uploaded; if there are too many, one more than may be."""
    named = references[: MOST_FILES + 1] if isinstance(references, list) else []
    ids = [each.get("id") for each in named if isinstance(each, dict)]
    return [{"id": each} for each in ids if isinstance(each, str) and each in session.files]


def _step(message_id: str, words: str) -> dict[str, Any]:
    return {
        "id": message_id,
        "type": "user_message",
        "name": "User",
        "output": words,
        "createdAt": None,
    }
