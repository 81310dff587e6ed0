"""Ids, in one place: random uuid4 in their 36-character form, as the SDK's tables hold them."""

from __future__ import annotations

import uuid


def new_id() -> str:
    """A random id: 36 characters, 122 random bits, fit as a session's name that nobody can guess."""
    return str(uuid.uuid4())
