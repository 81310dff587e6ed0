"""FlaskRuntime: a component as an HTTP service, with its conversations in a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appbuilder import logs
from appbuilder.runtime.base import Runtime

if TYPE_CHECKING:
    from flask import Flask


class FlaskRuntime(Runtime):
    """Serves a component over HTTP. What it is made with is :class:`appbuilder.runtime.base.Runtime`'s."""

    def create_flask_app(self, url_rule: str = "/chat") -> Flask:
        """The Flask application: for gunicorn, uWSGI and others, or to add routes to.

        The database is reached once, to fail now rather than at the first request; connections, threads and
        models are made after the server has forked.

        :raises ConfigurationError: the database cannot be used; the text says what to do.
        """
        logs.set_level(self.settings.loglevel)
        return self._app(url_rule, debug=False)

    def serve(
        self,
        host: str = "0.0.0.0",  # noqa: S104 - the SDK's default
        debug: bool = True,
        port: int = 8092,
        url_rule: str = "/chat",
    ) -> None:
        """Serves until the process is stopped.

        :param debug: True: one process with a reloader and readable errors, for work on the component; the
            interactive debugger only on a loopback host. False: a production server (docs/serving.md).
        :raises ConfigurationError: the database or a setting is wrong; the text says what to do.
        """
        from appbuilder.serve.wsgi.choose_server import serve_app

        logs.configure(self.settings.loglevel)
        self._say_unready()
        serve_app(
            self._app(url_rule, debug=debug),
            host=host,
            port=port,
            debug=debug,
            settings=self.settings,
            drain=self._drain,
        )

    def _app(self, url_rule: str, *, debug: bool) -> Flask:
        from appbuilder.serve.wsgi.flask_app import create_app

        self._store.prepare()
        return create_app(
            self._engine.get,
            url_rule=url_rule,
            needs_credential=getattr(self.component, "lazy_certification", False) is True,
            debug=debug,
        )
