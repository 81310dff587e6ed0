"""ServiceRuntime: a component as a service of its own, every protocol on one port."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from appbuilder import logs
from appbuilder.adapters.function import as_component
from appbuilder.core.component import entry, parameters_of
from appbuilder.core.context import log_ids
from appbuilder.errors import ConfigurationError
from appbuilder.runtime.base import Runtime
from appbuilder.serve.page.chainlit_setup import no_page, with_page
from appbuilder.serve.server.supervisor import RELOADED, SECRET
from appbuilder.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from appbuilder.engine.engine import Engine
    from appbuilder.runtime.user_session import UserSession
    from appbuilder.serve.auth.request_info import App, Identity
    from appbuilder.serve.http.service_app import ServiceApp
    from appbuilder.serve.http.state import Service
    from appbuilder.serve.page.page_options import Page
    from appbuilder.serve.server.supervisor import WorkerSlot


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions of the program's own that the service asks; see docs/auth.md and docs/limits.md.

    :param auth: tells whose a request is.
    :param turn: is asked before each turn, and may refuse it.
    """

    auth: Callable[..., Any] | None = None
    turn: Callable[..., Any] | None = None


class ServiceRuntime(Runtime):
    """Serves a component over HTTP: POST /chat, an OpenAI-compatible API, sessions, runs, and the chat page.

    :param component: a Component (an instance or its class), a function or generator, asynchronous ones too,
        or any object with a fitting ``run``.
    :param user_session_config: where conversations are kept, as a SQLAlchemy URL; default: the settings'.
    :param settings: default: those of the environment.
    :param hooks: functions of the program's own.
    :param page: how the chat page looks; default: the component's name.
    :raises ConfigurationError: the component cannot answer, the configuration is not a URL, or a page is
        asked for where Chainlit is not installed.
    """

    def __init__(
        self,
        component: Any,
        user_session_config: str | URL | None = None,
        user_session: UserSession | None = None,
        *,
        settings: Settings | None = None,
        hooks: Hooks | None = None,
        page: Page | None = None,
    ) -> None:
        given = settings or Settings.load()
        settings = with_page(given, needed=page is not None)
        self._page_is_missing = given.page is None and not settings.page
        config = user_session_config or (None if user_session else settings.database)
        super().__init__(as_component(component), config, user_session, settings=settings)
        self._hooks = hooks or Hooks()
        self._page = page

    def create_asgi_app(self, *, host: str | None = None) -> ServiceApp:
        """The application, for uvicorn, hypercorn, granian and others, one a process.

        Its lifespan makes the database ready, and ends the turns when the server stops.

        :param host: the address the server listens on, which decides who has access; default: the settings'.
        :raises ConfigurationError: the service is open to other machines without authentication, or a
            setting or
            the database is wrong.
        """
        app = self._app(self.settings.host if host is None else host, logs.set_level)
        atexit.register(app.lifespan.end)
        return app

    def serve(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        listeners: Sequence[socket.socket] = (),
        ready: Callable[[], object] = lambda: None,
        place: WorkerSlot | None = None,
    ) -> None:
        """Serves until the process is stopped, in this one process (`appbuilder serve` can have more).

        :param listeners: sockets that listen already, instead of *host* and *port*.
        :param ready: called when requests are about to be answered.
        :param place: among the workers of a service that has several.
        :raises ConfigurationError: as :meth:`create_asgi_app`, or the address cannot be listened on.
        """
        if self._page_is_missing:
            logs.logger.info(no_page())
        with _extra_named():
            from appbuilder.serve.server import trace_export
            from appbuilder.serve.server.address import listen
            from appbuilder.serve.server.uvicorn_server import serve

        host = self.settings.host if host is None else host
        app = self._app(host, self._set_up_logs, place)
        end_traces = trace_export.set_up(self.name)
        sockets = list(listeners) or [listen(host, self.settings.port if port is None else port)]
        if place is not None and place.page_listener >= 0:
            sockets.append(socket.socket(fileno=place.page_listener))

        def close() -> None:
            app.lifespan.close()
            end_traces()

        app.lifespan.start()
        if place is None or place.page_listener >= 0 or not place.page_socket:
            self._say_unready()  # one worker of several says it
        ready()
        serve(
            app if place is None else _placed(app, place),
            sockets,
            settings=self.settings,
            drain=app.lifespan.drain,
            close=close,
            last=_put_away,
        )

    def _set_up_logs(self, level: str) -> None:
        settings = self.settings
        logs.configure_service(
            level,
            form=settings.log_format,
            texts=settings.log_texts,
            error_texts=RELOADED,
            requests=settings.access_log,
            turn_ids=log_ids,
        )

    def _app(
        self, host: str, set_up_logs: Callable[[str], None], place: WorkerSlot | None = None
    ) -> ServiceApp:
        set_up_logs(self.settings.loglevel)
        with _extra_named():
            from appbuilder.serve.auth.authenticator import check_exposure
            from appbuilder.serve.auth.origins import OriginPolicy
            from appbuilder.serve.http.create_app import create_app
            from appbuilder.serve.http.service_app import Lifespan
        check_exposure(self.settings, host)
        self._store.prepare_service()
        self._store.warn_of_pooling()
        service = self._service(host, place.name if place is not None else "")
        lifespan = Lifespan(
            start=lambda: service.register.start(service.engine),
            drain=self._end_turns,
            close=self._close,
        )
        page = self._page_app(service, place) if self.settings.page else None
        return create_app(
            service, origin_policy=OriginPolicy.of(self.settings, host), page=page, lifespan=lifespan
        )

    def _service(self, host: str, worker_id: str) -> Service:
        from appbuilder.serve.auth.authenticator import make_authenticator
        from appbuilder.serve.http.rate_limits import Limits
        from appbuilder.serve.http.state import Service

        settings, store = self.settings, self._store
        keys = store.keys()
        return Service(
            engine=self._engine.get,  # the one that is drained, also when it is
            store=store,
            settings=settings,
            authenticator=make_authenticator(
                settings,
                keys,
                host=host,
                hook=self._hooks.auth,
                database=repr(store),
                repository=store.repository(),
            ),
            limits=Limits(settings, store.repository(), self._hooks.turn),
            register=store.run_register(worker_id),
            transcripts=store.transcripts(),
            name=self.name,
            takes=parameters_of(entry(self.component)[0]),
            needs_credential=getattr(self.component, "lazy_certification", False) is True,
            keys=keys,
        )

    def _page_app(self, service: Service, place: WorkerSlot | None) -> App:
        if place is not None and place.page_socket and place.page_listener < 0:
            from appbuilder.serve.page.page_requests import most_of_socket
            from appbuilder.serve.server.page_proxy import PageProxy

            return PageProxy(place.page_socket, os.environ[SECRET], most_of_socket(self.settings.max_body))
        from appbuilder.serve.auth.websockets import WebSocketSessions
        from appbuilder.serve.http.start_run import start_run
        from appbuilder.serve.page.page_app import create_app
        from appbuilder.serve.page.page_options import Page

        page = self._completed(self._page or Page())
        app = create_app(
            page,
            service.engine,
            self._store.repository(),
            self.settings,
            gate=service.authenticator.page,
            begin=lambda identity, turn: start_run(service, identity, turn, "continue"),
            links=_links,
        )
        return WebSocketSessions(app, service.authenticator)

    def _engine_of(self, component: Any) -> Engine:
        from appbuilder.engine.engine import Engine

        return Engine(component, self._store, self.settings, self._store.session_locks(), self.name)

    def _close(self) -> None:
        self._store.close()


@contextlib.contextmanager
def _extra_named() -> Iterator[None]:
    """:raises ConfigurationError: what is imported in it is not installed."""
    try:
        yield
    except ModuleNotFoundError as missing:
        package = str(missing.name).partition(".")[0]
        raise ConfigurationError(
            f"The service needs {package}: pip install 'appbuilder-runtime[serve]'"
        ) from None


def _links(identity: Identity) -> list[tuple[str, str]]:
    """What a reader of the page may use besides it, and the names of the words for that."""
    return [("/docs", "docs"), *([("/admin", "admin")] if identity.sees_all_others else [])]


def _placed(app: App, place: WorkerSlot) -> App:
    """*app* as the worker at *place* has it."""
    if place.page_listener < 0:
        return app
    from appbuilder.serve.server.page_proxy import TrustedProxy

    return TrustedProxy(app, os.environ[SECRET])


def _put_away() -> None:
    """The page's folder, of a process that is ended by a signal."""
    load = sys.modules.get("appbuilder.serve.page.chainlit_setup")
    if load is not None:
        load.put_away()
