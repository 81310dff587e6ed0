"""The browser pages that are open: which are on a conversation, and which missed something."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from weakref import WeakSet

from appbuilder.ids import new_id
from appbuilder.serve.page.page_requests import LOGIN_OF_SCOPE


class Tabs:
    """The open pages, by Chainlit's sessions. To be used on the page's event loop.

    A session whose socket is gone waits some minutes for another; what is said in its conversation meanwhile
    is noted as missed.

    :param sessions: all of Chainlit's, by their ids.
    :param disconnect: closes a socket, by its id.
    """

    def __init__(
        self, sessions: Mapping[str, Any], disconnect: Callable[[str], Awaitable[None]] | None = None
    ) -> None:
        self._sessions = sessions
        self._disconnect = disconnect or _stay
        self._away: WeakSet[Any] = WeakSet()
        self._missed: WeakSet[Any] = WeakSet()

    def left(self, session: Any) -> None:
        """Its socket is gone."""
        self._away.add(session)

    def came_back(self, session: Any) -> bool:
        """It has a socket (again); returns whether it missed something."""
        self._away.discard(session)
        missed = session in self._missed
        self._missed.discard(session)
        return missed

    def others(self, session: Any) -> list[Any]:
        """The other pages of the same user on the same conversation that have a socket."""
        here, user = self._on(session.thread_id), _user(session)
        same = [each for each in here if each is not session and _user(each) == user]
        for each in same:
            if each in self._away:
                self._missed.add(each)
        return [each for each in same if each not in self._away]

    async def notify_deleted(self, session_id: str) -> None:
        """The pages on a conversation that was deleted leave it."""
        for each in self._on(session_id):
            await each.emit("window_message", {"appbuilder": "deleted"})

    async def notify_renamed(self, user: str) -> None:
        """The user's pages read their lists of conversations again.

        Chainlit's page does so at what it takes for another first message.
        """
        for each in list(self._sessions.values()):
            if _user(each) == user and each.has_first_interaction:
                said = {"interaction": f"renamed {new_id()}", "thread_id": each.thread_id}
                await each.emit("first_interaction", said)

    async def log_out(self, login: str) -> None:
        """The pages of a login that has ended are loaded again, and their sockets closed."""
        for each in list(self._sessions.values()):
            scope = (each.environ or {}).get("asgi.scope") or {}
            if scope.get(LOGIN_OF_SCOPE) == login:
                await each.emit("reload", {})
                await self._disconnect(each.socket_id)

    def _on(self, session_id: str) -> list[Any]:
        return [each for each in self._sessions.values() if each.thread_id == session_id]


async def _stay(_: str) -> None:
    """There are no sockets."""


def _user(session: Any) -> str | None:
    return session.user.identifier if session.user else None
