"""What stands in the query of an address; names that are not asked for are passed over."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request

from appbuilder.core.conversations import Owner
from appbuilder.errors import Forbidden, InvalidRequest
from appbuilder.serve.auth.authorization import check_listing
from appbuilder.serve.auth.request_info import Identity

NOBODY = "nobody"
"""Stands for the owner None, which no other owner is called."""
_LONGEST = 300
_DIGITS = 9


def number(request: Request, name: str, *, usual: int, most: int) -> int:
    """A whole number from 1 on.

    :raises InvalidRequest: it is not a number, or larger than *most*.
    """
    given = request.query_params.get(name)
    if given is None:
        return usual
    value = int(given) if given.isascii() and given.isdigit() and len(given) <= _DIGITS else 0
    if not 1 <= value <= most:
        raise InvalidRequest(f"{name} must be a whole number from 1 to {most}.")
    return value


def flag(request: Request, name: str) -> bool:
    """``true`` or ``false``, which it is where it is absent.

    :raises InvalidRequest: it is something else.
    """
    return choice(request, name, ("false", "true")) == "true"


def choice(request: Request, name: str, choices: Sequence[str]) -> str:
    """One of some words, the first where it is absent.

    :raises InvalidRequest: it is not one of them.
    """
    given = request.query_params.get(name, choices[0])
    if given not in choices:
        raise InvalidRequest(f"{name} must be {' or '.join(choices)}.")
    return given


def text(request: Request, name: str, most: int = _LONGEST) -> str | None:
    """A text; None: it is absent.

    :raises InvalidRequest: it has more than *most* characters.
    """
    given = request.query_params.get(name)
    if given is not None and len(given) > most:
        raise InvalidRequest(f"{name} must have at most {most} characters.")
    return given


def owner(request: Request) -> tuple[bool, Owner]:
    """Whom ``user`` or ``owner`` names, if one of them is there.

    :raises InvalidRequest: both are there, or what is there is empty or too long.
    """
    user, named = text(request, "user"), text(request, "owner")
    if user is None and named is None:
        return False, None
    if user is not None and named is not None:
        raise InvalidRequest("user and owner are two ways to say the same: send one of them.")
    if not (user or named):
        raise InvalidRequest("user and owner must not be empty.")
    return True, f"user:{user}" if user else None if named == NOBODY else named


def owners(request: Request, identity: Identity) -> Sequence[Owner] | None:
    """Whose things are asked for; None: everybody's. By default the caller's own.

    :raises InvalidRequest: ``user``, ``owner`` and ``all`` contradict each other.
    :raises Forbidden: they are not for this caller.
    """
    named, whose = owner(request)
    if flag(request, "all"):
        if named:
            raise InvalidRequest("all goes with neither user nor owner.")
        if not identity.sees_all_others:
            raise Forbidden("Everybody's are for administrators.")
        return None
    check_listing(identity)
    if not named:
        return identity.owners
    check_owner(identity, whose)
    return (whose,)


def check_owner(identity: Identity, whose: Owner) -> None:
    """:raises Forbidden: another owner's sessions are requested, not by an administrator."""
    check_listing(identity)
    if whose != identity.owner and not identity.sees_all_others:
        raise Forbidden("Those of others are for administrators.")
