"""An issuer's public keys: read from its JSON Web Key Set, kept, and read again when they change."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import jwt
from anyio import fail_after

from appbuilder import clock, jsontext
from appbuilder.errors import ConfigurationError, ServiceUnavailable
from appbuilder.logs import logger
from appbuilder.serve.auth.request_info import is_loopback_name
from appbuilder.serve.http.thread_pools import AUTH

_KIND = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""The key's type and curve for each algorithm (RFC 7518, RFC 8037)."""
ALGORITHMS = frozenset(_KIND)
_LEAST_RSA_BITS = 2048

SHORTEST, LONGEST = 300.0, 900.0
"""Seconds for which keys are kept, whatever the issuer says."""
UNREACHED = 3600.0
"""Seconds for which they are kept where the issuer cannot be reached."""
PAUSE = 10.0
"""Seconds between two looks for a key that is not among those kept."""
RETRY = 2.0
"""Seconds between two tries where the issuer did not answer."""
_TIMEOUT = 5.0
_LONGEST_READ = 10.0
"""Seconds for one reading as a whole: an issuer may send a byte now and then."""
_MOST_BYTES = 1024 * 1024
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})\b")

Fetched = tuple[bytes, float]
"""A key set, and the seconds for which it may be kept."""
Source = Callable[[], Awaitable[Fetched]]
"""Gets the key set. :raises Exception: it cannot be had."""


class NoKeySet(ValueError):
    """What the issuer sent is no JSON Web Key Set."""


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """Keys with which an issuer signs."""

    keys: Sequence[dict[str, Any]] = ()

    @classmethod
    def parse(cls, text: bytes) -> PublicKeys:
        """Reads a key set; keys for other uses, and shared secrets, are left out.

        :raises NoKeySet: it is not a key set.
        """
        try:
            value = jsontext.loads(text)
        except jsontext.NotJson as error:
            raise NoKeySet(f"it is not JSON: {error}") from None
        found = value.get("keys") if isinstance(value, dict) else None
        if not isinstance(found, list):
            raise NoKeySet("it is no JSON Web Key Set")
        return cls([each for each in found if isinstance(each, dict) and _signs(each)])

    def select(self, key_id: str | None, algorithm: str) -> Any:
        """The key for a token; None: it does not exist, or it is not said which of several."""
        kind, curve = _KIND[algorithm]
        fitting = [
            each
            for each in self.keys
            if each.get("kty") == kind
            and (curve is None or each.get("crv") == curve)
            and each.get("alg", algorithm) == algorithm
            and (key_id is None or each.get("kid") == key_id)
        ]
        return _made(fitting[0], algorithm) if len(fitting) == 1 else None


def _signs(key: dict[str, Any]) -> bool:
    operations = key.get("key_ops")
    return key.get("use", "sig") == "sig" and (not isinstance(operations, list) or "verify" in operations)


def _made(key: dict[str, Any], algorithm: str) -> Any:
    # Private members, which do not belong there, would make a private key of it.
    public: dict[str, Any] = {name: key[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in key}
    try:
        made = jwt.PyJWK(public, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        return None
    weak = key["kty"] == "RSA" and made.key_size < _LEAST_RSA_BITS
    return None if weak else made


class KeySet:
    """The keys, kept as long as they may be. To be used on one event loop."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._keys: PublicKeys | None = None
        self._read_at = self._until = 0.0
        self._failed_at = self._renewed_at = float("-inf")
        self._reading = asyncio.Lock()

    async def get(self) -> PublicKeys:
        """The keys.

        :raises ServiceUnavailable: there are none, and the issuer does not answer.
        """
        # Where another request reads them already, those at hand are good enough.
        if self._until <= clock.monotonic() and (self._keys is None or not self._reading.locked()):
            await self._read(lambda: self._until <= clock.monotonic())
        if self._keys is None or self._read_at + UNREACHED <= clock.monotonic():
            raise _unreached()
        return self._keys

    async def renewed(self, known: PublicKeys) -> PublicKeys:
        """The keys as they are now, for a token with a key that is not among *known*.

        Asks the issuer only where that was not done a moment ago.

        :raises ServiceUnavailable: the issuer does not answer, so that the token cannot be judged.
        """
        def needed() -> bool:
            return self._keys is known and self._renewed_at + PAUSE <= clock.monotonic()

        if await self._read(needed):
            self._renewed_at = clock.monotonic()
        if self._failed_at > self._read_at:
            raise _unreached()
        return self._keys or known

    async def _read(self, needed: Callable[[], bool]) -> bool:
        """Reads the keys where that is needed; whether they were read."""
        async with self._reading:
            now = clock.monotonic()
            if not needed() or self._failed_at + RETRY > now:
                return False
            try:
                with fail_after(_LONGEST_READ):
                    text, keep = await self._source()
                self._keys = PublicKeys.parse(text)
            except Exception as error:  # noqa: BLE001 - whatever stands between us and the issuer
                self._failed_at = now
                logger.warning("the keys of the issuer cannot be read: %s", _kind(error))
            else:
                self._read_at, self._until = now, now + min(max(keep, SHORTEST), LONGEST)
                return True
            return False


def _kind(error: Exception) -> str:
    """Without the error's own words: the address stands in them, with the password or the key it may hold."""
    if isinstance(error, httpx2.HTTPStatusError):
        return f"status {error.response.status_code}"
    return type(error).__name__


def _unreached() -> ServiceUnavailable:
    return ServiceUnavailable("The token cannot be checked now: its issuer does not answer.", RETRY)


def key_source(place: str) -> Source:
    """What gets the key set from *place*, an address or a file.

    :raises ConfigurationError: the file cannot be read, or holds no key set; or who is on the way could put
        other keys in their place.
    """
    if "://" not in place:
        return _file(Path(place))
    if not _is_safe(place):
        raise ConfigurationError(
            "APPBUILDER_JWT_JWKS must be an https address, an http one of this machine, or a file."
        )

    async def fetch() -> Fetched:
        async with (
            httpx2.AsyncClient(timeout=_TIMEOUT, follow_redirects=False) as client,
            client.stream("GET", place, headers={"Accept": "application/json"}) as response,
        ):
            response.raise_for_status()
            text = b""
            async for part in response.aiter_bytes():
                text += part
                if len(text) > _MOST_BYTES:
                    raise NoKeySet("it is too large")
        max_age = _MAX_AGE.search(response.headers.get("cache-control", "").lower())
        return text, float(max_age[1]) if max_age else LONGEST

    return fetch


def _is_safe(address: str) -> bool:
    try:
        url = urlsplit(address)
    except ValueError:
        return False
    return url.scheme == "https" or (url.scheme == "http" and is_loopback_name(url.hostname or ""))


def _file(path: Path) -> Source:
    try:
        PublicKeys.parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"APPBUILDER_JWT_JWKS: {path} cannot be used: {error}") from None

    async def read() -> Fetched:
        return await AUTH.run(path.read_bytes), SHORTEST

    return read
