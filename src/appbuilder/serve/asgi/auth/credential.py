"""The credential a request brings; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from appbuilder.errors import Unauthenticated
from appbuilder.serve.asking import Asking

KEY_PREFIX = "ab_"
_BEARER = re.compile(r"bearer(?:[ \t]+(.*))?", re.IGNORECASE | re.DOTALL)
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
_LONGEST = 16 * 1024
_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class Credential:
    """What somebody shows of who he is."""

    text: str = field(repr=False)

    @property
    def is_key(self) -> bool:
        """Whether it has the form of an API key."""
        return self.text.startswith(KEY_PREFIX)

    @property
    def is_token(self) -> bool:
        """Whether it has the form of a JSON Web Token."""
        return _TOKEN.fullmatch(self.text) is not None


def credential_of(asking: Asking) -> Credential | None:
    """What stands in ``Authorization: Bearer`` or ``X-Api-Key``; None: nothing does.

    Other schemes of Authorization are left alone: they may be for a proxy in front.

    :raises Unauthenticated: there is more than one, or it is empty or too long.
    """
    given = [
        (found[1] or "").strip()
        for value in asking.values("authorization")
        if (found := _BEARER.fullmatch(value.strip()))
    ]
    given += [value.strip() for value in asking.values("x-api-key")]
    if not given:
        return None
    if len(given) > 1:
        raise Unauthenticated("Send one credential, in one header.")
    if not 0 < len(given[0]) <= _LONGEST:
        raise Unauthenticated("The credential is empty or too long.")
    return Credential(given[0])


def user_name(value: object) -> str | None:
    """*value* if it can be a user's name: printable text of at most 256 characters."""
    fits = isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()
    return value if fits and isinstance(value, str) and value.strip() else None
