"""Puts a page together: Chainlit's application with our gate in front of it and our engine behind it."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from appbuilder import clock
from appbuilder.core.conversations import ConversationRepository
from appbuilder.engine.engine import Engine
from appbuilder.errors import (
    AppBuilderError,
    ConfigurationError,
    InvalidRequest,
    Overloaded,
    PayloadTooLarge,
)
from appbuilder.serve.auth.page_identity import PageAuthenticator
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.auth.signed_cookies import LocalPageAuth, Logins
from appbuilder.serve.auth.signing_secret import signing_key
from appbuilder.serve.page.chainlit_setup import load, translations
from appbuilder.serve.page.earlier_turns import EarlierTurnsPage
from appbuilder.serve.page.page_html import content_security_policy, render
from appbuilder.serve.page.page_options import Page, Starter
from appbuilder.serve.page.page_requests import (
    LEAST_FREE,
    MOST_FILES,
    MOST_KEPT,
    MOST_UPLOAD,
    failed,
    most_of_socket,
)
from appbuilder.serve.page.page_routes import OUR_ICON, Routes
from appbuilder.serve.page.page_turns import Begin, PageTurns
from appbuilder.serve.page.script_data import Links, ScriptData
from appbuilder.serve.page.shell import UPLOAD, Shell
from appbuilder.serve.page.tabs import Tabs
from appbuilder.serve.page.user_conversations import UserConversations
from appbuilder.settings import Settings


def create_app(
    page: Page,
    engine: Callable[[], Engine],
    repository: ConversationRepository,
    settings: Settings,
    *,
    database: str = "",
    gate: LocalPageAuth | None = None,
    begin: Begin | None = None,
    links: Links | None = None,
) -> Shell:
    """The page as an ASGI application. One a process: Chainlit's application is a module global.

    :param page: with a name; see :class:`Page`.
    :param engine: gives this process's engine.
    :param repository: of the engine's store.
    :param database: names the database; browsers known to a page of one are unknown to those of others.
    :param gate: who has access; None: as *page* says.
    :param begin: begins a turn; None: the engine does.
    :param links: what else a reader finds on this host.
    :raises ConfigurationError: Chainlit is not installed, or the page is misconfigured.
    """
    if gate is None:
        gate = PageAuthenticator(page, signing_key(settings, f"page of {database}"), Logins(repository))
    elif page.users or page.user_header or page.administrators:
        raise ConfigurationError(
            "Who may use the page of a service is set by the service's settings, for all protocols: see "
            "APPBUILDER_AUTH."
        )
    icon = Path(page.icon) if page.icon else OUR_ICON
    if not icon.is_file():
        raise ConfigurationError(f"There is no image file {icon} for the page's icon.")
    chainlit = load(settings)
    html = render(Path(chainlit.server.build_dir) / "index.html", page.name)
    policy = content_security_policy(html, page.image_hosts)
    steps, limit = page.steps or page.debug, settings.max_body
    tabs = Tabs(chainlit.session.ws_sessions_id, chainlit.server.sio.disconnect)
    turns = PageTurns(engine, page.name, debug=page.debug, steps=steps, begin=begin, limit=limit, tabs=tabs)
    _configure(chainlit, page, turns, repository)
    earlier = EarlierTurnsPage(repository, UserConversations(repository, turns), page.name)
    facts = ScriptData(page, gate, limit=limit, links=links, languages=translations())
    routes = Routes(
        gate,
        html=html,
        facts=facts,
        icon=icon,
        theme=page.theme,
        earlier=earlier.page,
        ended=tabs.log_out,
    )
    check_room = _session_access_check(chainlit) if page.uploads else None
    chainlit.server.sio.eio.max_http_buffer_size = most_of_socket(limit)
    return Shell(
        chainlit.server.app, gate, routes, _token_maker(), policy, check_room=check_room, limit=limit
    )


def _configure(chainlit: Any, page: Page, turns: PageTurns, repository: ConversationRepository) -> None:
    from chainlit.config import CodeSettings, SpontaneousFileUploadFeature, config
    from chainlit.user_session import user_sessions

    from appbuilder.serve.page.data_layer import CatalogueLayer, request_info
    from appbuilder.serve.page.page_sockets import listen

    async def on_message(message: Any) -> None:
        who = request_info()
        await turns.ask(chainlit.context.session, who.identity, who.language, message)

    async def on_chat_resume(_: Any) -> None:
        """That there is one lets Chainlit open conversations again."""

    config.root = str(Path.cwd()) if Path("chainlit.md").is_file() else config.root
    config.ui.name = page.name
    config.ui.default_theme = page.theme
    config.run.debug = False
    config.features.spontaneous_file_upload = SpontaneousFileUploadFeature(
        enabled=page.uploads, accept=["*/*"], max_files=MOST_FILES, max_size_mb=MOST_UPLOAD >> 20
    )
    config.code = CodeSettings(
        action_callbacks={},
        on_message=on_message,
        on_chat_resume=on_chat_resume,
        set_starters=_starters(chainlit, page.starters or ()),
    )
    layer = CatalogueLayer(repository, turns)
    chainlit.data._data_layer = layer
    chainlit.data._data_layer_initialized = True
    user_sessions.clear()
    listen(chainlit, turns, layer, uploads=page.uploads)
    _answer_errors(chainlit.server.app)


def _answer_errors(app: Any) -> None:
    """Errors as ours are: JSON, with their true status, and nothing of the inside."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    async def ours(_: Any, error: BaseException) -> Any:
        return failed(error)

    async def unreadable(_: Any, __: Exception) -> Any:
        return failed(InvalidRequest("The request cannot be read."))

    async def unfit(request: Any, error: Exception) -> Any:
        # What Chainlit raises for a file without a byte, and for one without a name or a type.
        given = request.url.path == UPLOAD
        return failed(InvalidRequest("The file is empty, or has no name or type.") if given else error)

    async def told(_: Any, error: HTTPException) -> Any:
        cause = error.__cause__  # Chainlit makes a 500 of whatever its data layer raised
        if isinstance(cause, AppBuilderError) or error.status_code >= 500:
            return failed(cause or error)
        return failed(error, error.status_code, str(error.detail))

    app.add_exception_handler(AppBuilderError, ours)
    app.add_exception_handler(RequestValidationError, unreadable)
    app.add_exception_handler(JSONDecodeError, unreadable)
    app.add_exception_handler(ValueError, unfit)
    app.add_exception_handler(AssertionError, unfit)
    app.add_exception_handler(HTTPException, told)
    app.add_exception_handler(Exception, ours)


def _session_access_check(chainlit: Any) -> Callable[[str], None]:
    from chainlit.session import WebsocketSession

    folder = chainlit.config.FILES_DIRECTORY

    def check(session_id: str) -> None:
        session = WebsocketSession.get_by_id(session_id)
        if session is not None and len(session.files) >= MOST_KEPT:
            raise PayloadTooLarge(f"A page takes {MOST_KEPT} files; begin a new conversation for more.")
        if shutil.disk_usage(folder).free < LEAST_FREE:
            raise Overloaded("There is no room for files now; try again later.", retry_after=60)

    return check


def _starters(chainlit: Any, starters: Sequence[Starter | str]) -> Callable[..., Any] | None:
    if not starters:
        return None
    each = [starter if isinstance(starter, Starter) else Starter(starter) for starter in starters]
    shown = [chainlit.Starter(label=one.label, message=one.message or one.label) for one in each]

    async def set_starters(_user: Any = None, _language: Any = None) -> Any:
        return shown

    return set_starters


def _token_maker() -> Callable[[Identity], str]:
    from chainlit.auth.jwt import create_jwt
    from chainlit.user import User

    @functools.lru_cache(maxsize=1000)
    def make(owner: str, name: str, _day: float) -> str:
        return create_jwt(User(identifier=owner, display_name=name))

    # Made again each day: a token is good for some days only, and a page may be up for longer.
    return lambda identity: make(identity.owner, identity.name, clock.monotonic() // 86_400)
