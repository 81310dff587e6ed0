"""The secret that signs visitors' cookies: given, or made once and kept in the user's state folder."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from dataclasses import replace
from pathlib import Path

from appbuilder.logs import logger
from appbuilder.settings import Settings

_FILE = "page.secret"
_BYTES = 32


def signing_key(settings: Settings, purpose: str) -> bytes:
    """The key for *purpose* (a page of one database, say): 32 bytes, the same after a restart."""
    secret = settings.page_secret.encode() or _kept() or secrets.token_bytes(_BYTES)
    return hmac.digest(secret, purpose.encode(), hashlib.sha256)


def for_workers(settings: Settings) -> Settings:
    """*settings*, with a secret for this run where none can be kept: workers must not have one each."""
    kept = settings.page_secret or _kept()
    return settings if kept else replace(settings, page_secret=secrets.token_hex(_BYTES))


def state_folder() -> Path:
    """``appbuilder`` in the user's state folder (https://specifications.freedesktop.org/basedir)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "appbuilder"


def _kept() -> bytes | None:
    try:
        path = state_folder() / _FILE
        if not path.exists():
            _make(path)
        found = path.read_bytes()
    except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home
        logger.warning(
            "No secret can be kept (%s): visitors of the chat page are forgotten at a restart. "
            "Set APPBUILDER_PAGE_SECRET.",
            error,
        )
        return None
    if len(found) < _BYTES:
        logger.warning("%s is damaged; remove it, or set APPBUILDER_PAGE_SECRET.", path)
        return None
    return found


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_BYTES))
    try:
        # A link, unlike a rename, fails where another process was first: both then use that one's.
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        os.unlink(fresh)
