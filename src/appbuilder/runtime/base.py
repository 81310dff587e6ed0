"""What all runtimes are: a component, its conversations, and the engine that runs its turns."""

from __future__ import annotations

import atexit
import contextvars
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from appbuilder.core import foreign_objects
from appbuilder.core.component import as_answer, entry
from appbuilder.core.context import get_context
from appbuilder.core.message import AsyncContentStream, Message
from appbuilder.errors import ConfigurationError
from appbuilder.fork_safe import ForkSafe
from appbuilder.logs import logger
from appbuilder.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from appbuilder.core.store import SessionStore
    from appbuilder.engine.engine import Engine
    from appbuilder.runtime.user_session import UserSession
    from appbuilder.serve.page.page_options import Page


class Runtime:
    """Runs a component's turns.

    :param component: a Component, or any object with a fitting ``run(message, stream, **args)``; or an
        AppBuilderClient: each session then has a conversation of its own with the application.
    :param user_session_config: where conversations are kept, as a SQLAlchemy URL; default
        ``sqlite:///user_session.db``. The database is opened when the service starts.
    :param user_session: a UserSession whose database is used instead.
    :param tool_choice: the tool that an application is to use.
    :param settings: default: those of the environment.
    :raises ConfigurationError: (a ValueError) the component has no fitting ``run``, or the configuration is
        not a URL.
    """

    def __init__(
        self,
        component: Any,
        user_session_config: str | URL | None = None,
        user_session: UserSession | None = None,
        tool_choice: Any = None,
        *,
        settings: Settings | None = None,
    ) -> None:
        from appbuilder.engine.engine import argument_check
        from appbuilder.runtime.user_session import UserSession
        from appbuilder.store.databases.urls import DEFAULT

        foreign_objects.check(component)
        if user_session is not None and not isinstance(user_session, UserSession):
            raise ConfigurationError("user_session must be a UserSession.")
        self.component = component
        self.tool_choice = tool_choice
        # Without a configuration it is the default, and not what another runtime here was given.
        self.user_session = user_session or UserSession(user_session_config or DEFAULT)
        # Now and not at the first request: what a UserSession without a URL means may change later.
        self._store = self.user_session._open_store()
        self._answering = _answering(component, tool_choice, self._store)
        self._run, self._asynchronous = entry(self._answering)
        argument_check(self._run)
        self.settings = settings or Settings.load()
        self._engine: ForkSafe[Engine] = ForkSafe(self._make_engine)

    def chat(self, message: Message[Any], stream: bool = False, **args: Any) -> Message[Any]:
        """Runs the component once, in the caller's context: what it remembers stays in memory, unless
        ``init_context`` was called.

        :param message: what the user says.
        :param stream: True: the answer's content is an iterator of pieces of text.
        :param args: passed on to the component's ``run``.
        :returns: the component's message; anything else becomes the content of one.
        :raises ComponentError: the component returned nothing.
        """
        from appbuilder.engine.threads.event_loop import iterate, portal
        from appbuilder.engine.threads.portal import awaited

        def run() -> Any:
            return self._run(message=message, stream=stream, **args)

        get_context()  # made here, a LOCAL- session lasts; made in the copy it would end with the call
        context = contextvars.copy_context()
        answer = as_answer(portal().call(lambda: awaited(run()), context) if self._asynchronous else run())
        if isinstance(answer.content, AsyncContentStream):
            answer.content = iterate(answer.content, context)
        return answer

    @property
    def name(self) -> str:
        """What the component is called: what it says itself, or its class's name."""
        component = self.component
        meta = getattr(component, "meta", None)
        return str(getattr(component, "name", "") or getattr(meta, "name", "") or type(component).__name__)

    def _completed(self, page: Page) -> Page:
        """The page with what the settings, and then the component, say where *page* says nothing."""
        component, settings = self.component, self.settings
        starters = page.starters
        if starters is None:
            asked = [each.strip() for each in settings.page_starters.split("|") if each.strip()]
            starters = asked or getattr(component, "starters", ())
        description = getattr(component, "description", "")
        return replace(
            page,
            name=page.name or settings.page_name or self.name,
            icon=page.icon or settings.page_icon or getattr(component, "icon", None),
            starters=starters,
            theme=page.theme or cast(Any, settings.page_theme) or None,
            uploads=page.uploads or settings.page_uploads,
            description=page.description or (description if isinstance(description, str) else ""),
        )

    def _say_unready(self) -> None:
        """Says at start what would fail every turn."""
        from appbuilder.components.model_checks import unready

        if why := unready(self.component, self.settings):
            logger.warning("the program's model cannot be called yet: %s", why)

    def _make_engine(self) -> Engine:
        return self._engine_of(self._answering)

    def _engine_of(self, component: Any) -> Engine:
        from appbuilder.engine.engine import Engine
        from appbuilder.serve.wsgi.gevent_compat import patch_ssl

        patch_ssl()
        engine = Engine(component, self._store, self.settings)
        # For servers that are not ours: they end the process without telling.
        atexit.register(engine.drain, self.settings.drain_timeout)
        return engine

    def _drain(self) -> None:
        """Ends this process's turns; another ``serve`` starts afresh."""
        self._end_turns()
        self._store.close()

    def _end_turns(self) -> None:
        ending, self._engine = self._engine, ForkSafe(self._make_engine)
        self._end(ending.get())  # also where no turn was begun: from now on none may

    def _end(self, engine: Engine) -> None:
        try:
            engine.drain(self.settings.drain_timeout)
        except KeyboardInterrupt:
            engine.drain(0)  # told of it twice


def client_type() -> Any:
    """AppBuilderClient, if the program has loaded it; else no component can be one."""
    module: Any = sys.modules.get("appbuilder.components.app_client.client")
    return None if module is None else module.AppBuilderClient


def _answering(component: Any, tool_choice: Any, store: SessionStore) -> Any:
    """What answers messages: the component, or for an AppBuilderClient what serves it."""
    kind = client_type()
    if kind is None or not isinstance(component, kind):
        return component
    from appbuilder.components.app_client.session_app import SessionApp

    return SessionApp(component, tool_choice, store)
