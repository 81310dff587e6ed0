"""An issuer of JSON Web Tokens: keys, key sets, tokens right and wrong."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER = "https://issuer.example/"
AUDIENCE = "appbuilder"
MAKERS: dict[str, Any] = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "RSA-1024": lambda: rsa.generate_private_key(65537, 1024),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}
ALGORITHM = {"RSA": "RS256", "P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}


class SigningKey:
    """One key of an issuer."""

    def __init__(self, kind: str = "P-256", key_id: str | None = "one") -> None:
        self.private = MAKERS[kind]()
        self.algorithm = ALGORITHM.get(kind, "RS256")
        self.key_id = key_id

    def public_members(self, **more: Any) -> dict[str, Any]:
        """The key as a key set lists it."""
        made = jwt.get_algorithm_by_name(self.algorithm)
        members: dict[str, Any] = json.loads(made.to_jwk(self.private.public_key()))
        named = {} if self.key_id is None else {"kid": self.key_id}
        return {**members, **named, **more}

    @property
    def public_pem(self) -> bytes:
        """The public key as some would take it for a shared secret."""
        pem: bytes = self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return pem

    def token(self, *, headers: dict[str, Any] | None = None, algorithm: str = "", **claims: Any) -> str:
        """A token; a claim that is None is left out."""
        named = {} if self.key_id is None else {"kid": self.key_id}
        return jwt.encode(
            claims_of(**claims), self.private, algorithm or self.algorithm, {**named, **(headers or {})}
        )


def claims_of(**claims: Any) -> dict[str, Any]:
    """Claims of a token that holds for five minutes, with *claims* in their place; None: left out."""
    now = datetime.now(UTC)
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + timedelta(minutes=5), "iat": now}
    return {name: value for name, value in {**good, **claims}.items() if value is not None}


def in_seconds(**claims: Any) -> dict[str, Any]:
    """The same with times as numbers, as tokens have them."""
    return {
        name: int(value.timestamp()) if isinstance(value, datetime) else value
        for name, value in claims_of(**claims).items()
    }


def encoded(value: Any) -> str:
    """A part of a token: bytes, or JSON."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def by_hand(header: Any, payload: Any, secret: bytes | None = None) -> str:
    """A token as who forges makes it, signed with a shared secret or not at all."""
    signed = f"{encoded(header)}.{encoded(payload)}"
    signature = b"" if secret is None else hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{encoded(signature)}"


def key_set(*keys: dict[str, Any]) -> bytes:
    """A JSON Web Key Set."""
    return json.dumps({"keys": list(keys)}).encode()


@functools.cache
def signing_key(kind: str = "P-256", key_id: str | None = "one") -> SigningKey:
    """A key, the same for all tests: RSA keys take long to make."""
    return SigningKey(kind, key_id)
