"""The context of the current turn: session, request, user. The only module that holds a ContextVar.

Programs that drive a session by hand call :func:`init_context`; inside a runtime the engine makes the
context. Everywhere else :func:`get_context` makes one whose session id starts with ``LOCAL-``: its
messages stay in memory.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from appbuilder.core.cancel import CancelToken
from appbuilder.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from appbuilder.core.attachment import Attachment
    from appbuilder.core.store import SessionStore
    from appbuilder.events import Event

_LOCAL_KEY = "LOCAL-"


class SessionContext:
    """What is known about the turn that runs here.

    ``session_vars_dict`` holds what was appended: in a runtime or after :func:`init_context` a Message per
    key, written when the request ends; in a ``LOCAL-`` session a list of Messages per key.

    ``store`` is the runtime's own store (None outside a runtime) and ``credential`` what this request
    brought; neither is visible to any other request. ``on_event`` takes the events of the run,
    and ``on_step``, where a reader wants to see them, the steps that the product makes, of each model call.
    ``attachments`` are the files that came with the message. ``run_id`` names the turn, and
    ``model_calls`` counts the calls of models it made. ``history_before`` is the place (time and row id)
    of the first row that this turn replaces: the history ends there. ``keeps_turns``: whether the runtime
    keeps the texts of turns; None: it keeps only what is appended. ``cut`` says of the last model call, if
    its answer is not whole, why it ended, and with which characters.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the SDK's name
        session_id: str,
        request_id: str,
        user_id: str | None = None,
        cancel_token: CancelToken | None = None,
    ) -> None:
        self.id = id
        self.session_id = session_id
        self.request_id = request_id
        self.user_id = user_id
        self.run_id: str | None = None
        self.session_vars_dict: dict[str, Any] = {}
        self.store: SessionStore | None = None
        self.credential: str | None = None
        self.on_event: Callable[[Event], None] | None = None
        self.on_step: Callable[[Event], None] | None = None
        self.attachments: Sequence[Attachment] = ()
        self.model_calls = 0
        self.cut: tuple[str, str] | None = None
        self.history_before: tuple[datetime, str] | None = None
        self.keeps_turns: bool | None = None
        self.cancel_token = cancel_token or CancelToken()

    def emit(self, event: Event) -> None:
        """Adds *event* to the run, at its place among what the component says; from any thread or task.

        Outside a runtime it does nothing.

        :raises TypeError: *event* is not one of :mod:`appbuilder.events`.
        :raises AnswerError: its members are not JSON.
        """
        if self.on_event is not None:
            self.on_event(event)

    @property
    def in_runtime(self) -> bool:
        """True where a runtime made this context; the ``LOCAL-`` prefix then means nothing."""
        return self.store is not None

    @property
    def is_local(self) -> bool:
        """True where messages stay in memory."""
        return not self.in_runtime and self.session_id.startswith(_LOCAL_KEY)


context_var: ContextVar[SessionContext] = ContextVar("appbuilder_session")


def init_context(session_id: str, request_id: str, user_id: str | None = None) -> SessionContext:
    """Makes the context of a session and sets it for the caller's thread or task."""
    context = SessionContext(new_id(), session_id, request_id, user_id)
    context_var.set(context)
    return context


def get_context() -> SessionContext:
    """The current context; without one, a new ``LOCAL-`` one."""
    try:
        return context_var.get()
    except LookupError:
        # Cut to the 36 characters a session id may have.
        local_id = (_LOCAL_KEY + new_id())[:36]
        return init_context(session_id=local_id, request_id=local_id)


def log_ids() -> dict[str, str]:
    """What tells the turn that runs here from others in a log; empty outside a runtime's turn."""
    context = context_var.get(None)
    if context is None or not context.in_runtime:
        return {}
    ids = {"request_id": context.request_id, "session_id": context.session_id}
    return ids if context.run_id is None else ids | {"run_id": context.run_id}


def current_context() -> SessionContext | None:
    """The current context, or None; unlike :func:`get_context` it makes none."""
    return context_var.get(None)
