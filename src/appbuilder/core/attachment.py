"""Attachments: files that a user gave with a message."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file on this machine, there while the turn runs.

    :param name: what the user calls it; says nothing of where it is.
    :param mime: its content type, as the user's browser says.
    """

    path: Path
    name: str
    mime: str
