"""Puts a page together: Chainlit's application with our gate in front of it and our engine behind it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from appbuilder.core.catalogue import Catalogue
from appbuilder.engine.engine import Engine
from appbuilder.errors import AppBuilderError, ConfigurationError
from appbuilder.ids import new_id
from appbuilder.serve.chainlit.identity import Gate, Identity
from appbuilder.serve.chainlit.index import content_security_policy, render
from appbuilder.serve.chainlit.load import load
from appbuilder.serve.chainlit.page import Page, Starter
from appbuilder.serve.chainlit.passwords import Passwords
from appbuilder.serve.chainlit.routes import OUR_ICON, Routes
from appbuilder.serve.chainlit.secret import signing_key
from appbuilder.serve.chainlit.shell import Shell
from appbuilder.serve.chainlit.turns import PageTurns
from appbuilder.serve.chainlit.web import failed
from appbuilder.settings import Settings

_NOT_USED = (
    "edit_message",
    "message_favorite",
    "fetch_favorites",
    "window_message",
    "audio_start",
    "audio_chunk",
    "audio_end",
    "chat_settings_change",
    "chat_settings_edit",
)


def create_app(
    page: Page, engine: Callable[[], Engine], catalogue: Catalogue, settings: Settings, *, database: str
) -> Shell:
    """The page as an ASGI application. One a process: Chainlit's application is a module global.

    :param page: with a name; see :class:`Page`.
    :param engine: gives this process's engine.
    :param catalogue: of the engine's store.
    :param database: names the database; browsers known to a page of one are unknown to those of others.
    :raises ConfigurationError: Chainlit is not installed, or the page is not set up rightly.
    """
    gate = Gate(page, signing_key(settings, f"page of {database}"))
    icon = Path(page.icon) if page.icon else OUR_ICON
    if not icon.is_file():
        raise ConfigurationError(f"There is no image file {icon} for the page's icon.")
    chainlit = load(settings)
    html = render(Path(chainlit.server.build_dir) / "index.html", page.name)
    policy = content_security_policy(html, page.image_hosts)
    turns = PageTurns(engine, page.name, debug=page.debug)
    _configure(chainlit, page, turns, catalogue)
    _listen(chainlit, turns)
    routes = Routes(gate, Passwords(page.users), html=html, icon=icon, theme=page.theme)
    return Shell(chainlit.server.app, gate, routes, _token_maker(), policy)


def _configure(chainlit: Any, page: Page, turns: PageTurns, catalogue: Catalogue) -> None:
    from chainlit.config import CodeSettings, config
    from chainlit.user_session import user_sessions

    from appbuilder.serve.chainlit.data_layer import CatalogueLayer, asking

    async def on_message(message: Any) -> None:
        who = asking()
        await turns.ask(chainlit.context.session, who.identity, who.language, message)

    async def on_chat_start() -> None:
        session = chainlit.context.session
        if session.thread_id_to_resume:  # the browser asked for one that is not there, or not its own
            session.thread_id = new_id()

    async def on_chat_resume(_: Any) -> None:
        """That there is one lets Chainlit open conversations again."""

    config.root = str(Path.cwd()) if Path("chainlit.md").is_file() else config.root
    config.ui.name = page.name
    config.ui.default_theme = page.theme
    config.run.debug = False
    config.code = CodeSettings(
        action_callbacks={},
        on_message=on_message,
        on_chat_start=on_chat_start,
        on_chat_resume=on_chat_resume,
        set_starters=_starters(chainlit, page.starters or ()),
    )
    chainlit.data._data_layer = CatalogueLayer(catalogue, turns)
    chainlit.data._data_layer_initialized = True
    user_sessions.clear()
    chainlit.server.app.add_exception_handler(AppBuilderError, _answer_error)


async def _answer_error(_: Any, error: Exception) -> Any:
    return failed(error)


def _starters(chainlit: Any, starters: Sequence[Starter | str]) -> Callable[..., Any] | None:
    if not starters:
        return None
    each = [starter if isinstance(starter, Starter) else Starter(starter) for starter in starters]
    shown = [chainlit.Starter(label=one.label, message=one.message or one.label) for one in each]

    async def set_starters(_user: Any = None, _language: Any = None) -> Any:
        return shown

    return set_starters


def _listen(chainlit: Any, turns: PageTurns) -> None:
    """Chainlit's events from browsers: some are ours, some are not used."""
    from chainlit.session import WebsocketSession
    from chainlit.socket import connection_successful

    from appbuilder.serve.chainlit.data_layer import asking

    sio = chainlit.server.sio

    async def connected(sid: str) -> None:
        await connection_successful(sid)
        session = WebsocketSession.get(sid)
        if session is not None:
            turns.watch(session, asking().language)

    async def stop(sid: str) -> None:
        session = WebsocketSession.get(sid)
        if session is not None:
            await turns.stop(session.thread_id)

    sio.on("connection_successful", connected)
    # Chainlit's own says "Task manually stopped." and cancels what shows the answer, not what makes it.
    sio.on("stop", stop)
    for name in _NOT_USED:
        sio.handlers["/"].pop(name, None)


def _token_maker() -> Callable[[Identity], str]:
    from chainlit.auth.jwt import create_jwt
    from chainlit.user import User

    @functools.lru_cache(maxsize=1000)
    def make(owner: str, name: str) -> str:
        return create_jwt(User(identifier=owner, display_name=name))

    return lambda identity: make(identity.owner, identity.name)


