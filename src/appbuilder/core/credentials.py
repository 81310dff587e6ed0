"""Credentials for the AppBuilder gateway: where one comes from and the headers that carry it.

Header names and values are the AppBuilder SDK's, as recorded from version 1.1.5.
"""

from __future__ import annotations

from appbuilder import jsontext
from appbuilder._version import __version__
from appbuilder.errors import ConfigurationError
from appbuilder.ids import new_id

_SCHEME = "Bearer"
_SDK_CONFIG = jsontext.dumps(
    {
        "appbuilder_sdk_version": __version__,
        "appbuilder_sdk_language": "python",
        "appbuilder_sdk_platform": "appbuilder-runtime",
    }
).decode()


def bearer(token: str) -> str:
    """*token* as the value of an authorization header: with ``Bearer`` before it, once."""
    return token if token.startswith(_SCHEME) else f"{_SCHEME} {token}"


def gateway_headers(token: str, request_id: str | None = None) -> dict[str, str]:
    """The headers of a call to the AppBuilder gateway (version 1 of its API)."""
    call_id = request_id or new_id()
    return {
        "X-Appbuilder-Sdk-Config": _SDK_CONFIG,
        "X-Appbuilder-Origin": "appbuilder_sdk",
        "X-Appbuilder-Request-Id": call_id,
        "X-Bce-Request-Id": call_id,
        "X-Appbuilder-Authorization": bearer(token),
    }


def missing_token() -> ConfigurationError:
    """The error for a call to the gateway without any credential."""
    return ConfigurationError(
        "No credential for the AppBuilder gateway. Set APPBUILDER_TOKEN, pass secret_key=..., or use another "
        "model: APPBUILDER_MODEL=local needs none."
    )


def with_scheme(address: str) -> str:
    """A gateway's address: ``https://`` before it where no scheme was given, no slash at its end."""
    return (address if address.startswith(("http://", "https://")) else f"https://{address}").rstrip("/")
