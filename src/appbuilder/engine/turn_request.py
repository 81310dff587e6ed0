"""What a transport asks the engine for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from appbuilder.core.attachment import Attachment
from appbuilder.core.store import ReplacedTurns
from appbuilder.engine.memory_budget import Account
from appbuilder.engine.persistence import RetentionPolicy
from appbuilder.errors import Audience
from appbuilder.ids import new_id, new_row_id


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What a transport asks for. ``message`` and ``args`` are JSON values; ids have at most 36 characters.

    ``credential`` is the AppBuilder token the request brought, if any. ``keep`` asks for the turn to be kept
    for the conversation repository, ``watch`` for the steps of the run to be in its log. ``attachments``
    are files on this machine: a transport must not take their paths from a client. ``guard`` says whether the
    session may be used, see :data:`SessionCheck`; ``new_session``, that its id was made for this request;
    ``forget``, that nothing of the turn is kept, not even what the component appends. ``replaces`` finds the
    turns that this one takes the place of, see :data:`Replaces`. ``door`` is the way it came in, see
    :class:`appbuilder.telemetry.Sink`. ``account`` is what the request takes of the memory; its holder holds
    it until the turn has begun. ``audience`` says what the one who asks may read of an error.
    """

    message: Any
    session_id: str
    stream: bool = False
    args: Mapping[str, Any] = field(default_factory=dict)
    request_id: str = field(default_factory=new_id)
    user_id: str | None = None
    credential: str | None = field(default=None, repr=False)
    keep: RetentionPolicy | None = None
    watch: bool = False
    all_events: bool = False
    attachments: Sequence[Attachment] = ()
    guard: SessionCheck | None = None
    new_session: bool = field(default=False, compare=False)
    forget: bool = False
    replaces: Replaces | None = None
    door: str = "chat"
    run_id: str = field(default_factory=new_row_id, compare=False)
    account: Account | None = field(default=None, compare=False, repr=False)
    audience: Audience = Audience.STRANGER

    def admitted(
        self,
        *,
        guard: SessionCheck | None,
        keep: RetentionPolicy | None,
        user_id: str | None,
        account: Account | None = None,
        audience: Audience = Audience.STRANGER,
    ) -> TurnRequest:
        """The same request with what the service adds; written out, as each turn of the service needs it."""
        return TurnRequest(
            self.message,
            self.session_id,
            self.stream,
            self.args,
            self.request_id,
            user_id,
            self.credential,
            keep,
            self.watch,
            self.all_events,
            self.attachments,
            guard,
            self.new_session,
            self.forget,
            self.replaces,
            self.door,
            self.run_id,
            account,
            audience,
        )


SessionCheck = Callable[[], bool]
"""Asked where it may block, before the turn waits for its session: True, the session is the caller's; False,
this may still change (it does not exist yet, for instance), and it is asked again when the session is the
turn's;
it raises where the session is not for the caller."""

Replaces = Callable[[], "ReplacedTurns | None"]
"""Asked where it may block, when the session is the turn's and no other turn can end in it: the newest turns,
which this one replaces; None: it follows all that is there."""
