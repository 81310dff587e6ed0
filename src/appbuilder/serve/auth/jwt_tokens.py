"""JSON Web JwtVerifier of an issuer whose keys are published (RFC 7519, RFC 7517, RFC 8725)."""

from __future__ import annotations

from typing import Any

import jwt

from appbuilder.errors import ConfigurationError, Unauthenticated
from appbuilder.logs import logger
from appbuilder.serve.auth.jwks import ALGORITHMS, KeySet, key_source
from appbuilder.serve.auth.request_info import user_name
from appbuilder.settings import Settings

LEEWAY = 30.0
"""Seconds by which the issuer's clock and ours may differ."""

_WRONG = "The token is not valid for this service."


class JwtVerifier:
    """Checks tokens.

    :param user_claim: the claim that names the user.
    """

    def __init__(self, keys: KeySet, *, issuer: str, audience: str, user_claim: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._user_claim = user_claim

    async def user_of(self, token: str) -> str:
        """The user a token is of.

        :raises Unauthenticated: it is not one of the issuer's for this service, or does not hold (any more).
        :raises ServiceUnavailable: the issuer's keys cannot be had now.
        """
        algorithm, key_id = self._header(token)
        keys = await self._keys.get()
        key = keys.select(key_id, algorithm)
        if key is None:
            keys = await self._keys.renewed(keys)
            key = keys.select(key_id, algorithm)
        if key is None:
            raise _refused("no key of the issuer fits")
        return self._user(token, algorithm, key)

    def _header(self, token: str) -> tuple[str, str | None]:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise _refused(type(error).__name__) from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        # Never one with a shared secret: the issuer's public key would be taken for it.
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise _refused("its algorithm is not an asymmetric one")
        if "crit" in header or header.get("b64", True) is not True:
            raise _refused("it asks for what is not understood here")
        return algorithm, key_id if isinstance(key_id, str) else None

    def _user(self, token: str, algorithm: str, key: Any) -> str:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The token has expired.") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise _refused(type(error).__name__) from None
        name = user_name(claims.get(self._user_claim))
        if name is None:
            raise _refused("it names no user")
        return name


def _refused(why: str) -> Unauthenticated:
    logger.debug("a token was refused: %s", why)
    return Unauthenticated(_WRONG)


def tokens_of(settings: Settings) -> JwtVerifier:
    """The checks the settings ask for.

    :raises ConfigurationError: one of them is missing, or the file of keys cannot be used.
    """
    for name in ("jwt_issuer", "jwt_audience", "jwt_jwks", "jwt_user"):
        if not getattr(settings, name):
            raise ConfigurationError(
                f"APPBUILDER_AUTH=jwt needs APPBUILDER_{name.upper()}: issuer, audience and keys decide "
                "together which tokens are meant for this service."
            )
    return JwtVerifier(
        KeySet(key_source(settings.jwt_jwks)),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        user_claim=settings.jwt_user,
    )
