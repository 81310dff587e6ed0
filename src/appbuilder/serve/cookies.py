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

    def read(self, asking: Asking, days: int, suffix: str = "") -> dict[str, Any]:
        """What the request's cookie says; empty: it has none that was signed here in the last *days* days.

        :param suffix: ends the cookie's name.
        """
        try:
            value = self._signer.loads(asking.cookies.get(self.name + suffix, ""), max_age=days * DAY)
        except BadData:
            return {}
        return value if isinstance(value, dict) else {}
