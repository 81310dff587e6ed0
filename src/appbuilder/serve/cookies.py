"""Cookies that only we can have made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer

from appbuilder.serve.asking import Asking

DAY = 86_400


class SignedCookies:
    """Signs a small value into a cookie, and reads it back.

    :param key: another key makes all earlier cookies void.
    """

    def __init__(self, key: bytes) -> None:
        self._signer = URLSafeTimedSerializer(key, salt="appbuilder-page")
        # Cookies are shared by all ports of a host: two pages must not take each other's for damaged ones.
        self.name = "appbuilder_" + hashlib.sha256(key).hexdigest()[:8]

    def sign(self, value: Mapping[str, str]) -> str:
        """The cookie's text."""
        return str(self._signer.dumps(value))

    def read(self, asking: Asking, days: int) -> dict[str, Any]:
        """What the request's cookie says; empty: it has none that we signed in the last *days* days."""
        try:
            value = self._signer.loads(asking.cookies.get(self.name, ""), max_age=days * DAY)
        except BadData:
            return {}
        return value if isinstance(value, dict) else {}
