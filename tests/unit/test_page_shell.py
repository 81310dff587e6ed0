"""What of a request reaches Chainlit's application."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from appbuilder.core.context import current_context
from appbuilder.serve.auth.page_identity import PageAuthenticator, PageContext
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.page.page_options import Page
from appbuilder.serve.page.page_routes import OUR_ICON, Routes
from appbuilder.serve.page.script_data import ScriptData
from appbuilder.serve.page.shell import Shell

SENT = [
    (b"host", b"localhost"),
    (b"cookie", b"access_token=forged; access_token_0=forged"),
    (b"cookie", b"other=1"),
    (b"authorization", b"Bearer forged"),
    (b"accept-language", b"zh-CN"),
    (b"x-kept", b"1"),
]


def reached(page: Page, peer: str = "127.0.0.1") -> list[tuple[Any, Any]]:
    """The headers, and the context, with which Chainlit is asked for /user."""
    seen: list[tuple[Any, Any]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["headers"], current_context()))

    def token(identity: Identity) -> str:
        return f"token-of-{identity.owner}"

    async def nothing(*_: Any) -> Any:
        return {"type": "http.disconnect"}

    gate = PageAuthenticator(page, b"k" * 32)
    facts = ScriptData(page, gate, limit=1, links=None, languages=[])
    routes = Routes(gate, html="", facts=facts, icon=OUR_ICON, theme=None, earlier=nothing, ended=nothing)
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/user",
        "headers": SENT,
        "client": (peer, 1),
        "scheme": "http",
    }
    asyncio.run(Shell(inner, gate, routes, token, "")(scope, nothing, nothing))
    return seen


def test_the_only_cookie_is_ours_and_no_credential_comes_with_it() -> None:
    [(headers, context)] = reached(Page())
    assert [value for name, value in headers if name == b"cookie"] == [b"access_token=token-of-local"]
    assert b"authorization" not in dict(headers)
    assert dict(headers)[b"x-kept"] == b"1"
    assert isinstance(context, PageContext)
    assert (context.identity.owner, context.language) == ("local", "zh-CN")


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.0.0.5"])
def test_who_is_not_known_comes_without_any(peer: str) -> None:
    [(headers, context)] = reached(Page(users={"ann": "secret"}), peer)
    assert not {b"cookie", b"authorization"} & {name for name, _ in headers}
    assert context is None
