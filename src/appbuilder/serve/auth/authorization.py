"""Whose a session is, and who may do what with it.

A caller without access to a session gets the same answer as for a missing one.
"""

from __future__ import annotations

from appbuilder.core.conversations import LOCAL_USER, Conversation, Owner
from appbuilder.engine.turn_request import SessionCheck
from appbuilder.errors import Forbidden, NotFound
from appbuilder.serve.auth.request_info import ANONYMOUS, Identity
from appbuilder.serve.http.state import Service


def may_continue(identity: Identity, owner: Owner) -> bool:
    """Whether a caller may use a session; another owner's it may not."""
    return owner in identity.owners


def may_see(identity: Identity, owner: Owner) -> bool:
    """Whether a caller may read a session, rename, export and delete it; administrators may for all."""
    return identity.sees_all_others or owner in identity.owners


def check_listing(identity: Identity) -> None:
    """:raises Forbidden: for an anonymous caller: its sessions cannot be distinguished from those of
    others."""
    if identity.owner == ANONYMOUS:
        raise Forbidden("Lists are for callers the service knows; ask for a session or a run by its id.")


def session_check(
    service: Service, identity: Identity, session_id: str, *, new: bool = False
) -> SessionCheck | None:
    """What decides whether a turn of this session may begin, see :data:`SessionCheck`.

    None: there is nothing to decide, as it is new, or the local user asks and is known to be let in.

    :param new: its id was made for this turn, so no other caller has it.
    """
    known, of_local_user = service.known, identity.owner == LOCAL_USER
    if new or (of_local_user and known.get(session_id)):
        return None

    def session_check() -> bool:
        exists, owner = service.store.repository().owner_of(session_id)
        if exists and not may_continue(identity, owner):
            raise _no_session()
        if of_local_user:
            # Also if it does not exist yet, or never will, as nothing is kept: the commit refuses a turn in
            # a session that another owner has started meanwhile.
            known.put(session_id, True)
        return exists or of_local_user

    return session_check


def reported_user(service: Service, identity: Identity, claimed: str | None) -> str:
    """The user that the component sees.

    :param claimed: whom the request names (``X-Appbuilder-User-Id``). Where callers show who they are that
        counts for those who may see everybody's sessions, a program that speaks for its users for instance.
    """
    may_claim = identity.sees_all_others or not service.settings.auth
    return claimed if claimed and may_claim else identity.name


def require_session(service: Service, identity: Identity, session_id: str) -> Conversation:
    """The session, where it is for this caller to see. It blocks: to be called in a thread.

    :raises NotFound: it does not exist, or belongs to another owner.
    """
    found = service.store.repository().find(session_id)
    if found is None or not may_see(identity, found.owner):
        raise _no_session()
    return found


def _no_session() -> NotFound:
    return NotFound("There is no such session.")
