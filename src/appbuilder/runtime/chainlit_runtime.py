"""ChainlitRuntime: a component behind a chat page, with its conversations in a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from appbuilder import logs
from appbuilder.errors import ConfigurationError
from appbuilder.fork_safe import ForkSafe
from appbuilder.runtime.base import Runtime, client_type
from appbuilder.runtime.tool_eval import ToolEval
from appbuilder.serve.page.page_options import Page, Starter, TrustedHeader
from appbuilder.serve.server.address import warn_if_open

if TYPE_CHECKING:
    from appbuilder.engine.engine import Engine


class ChainlitRuntime(Runtime):
    """Serves a component behind a chat page. One page a process.

    What it is made with is :class:`appbuilder.runtime.base.Runtime`'s.
    """

    def chainlit_component(
        self,
        host: str = "0.0.0.0",  # noqa: S104 - the SDK's default
        port: int = 8091,
        *,
        page: Page | None = None,
    ) -> None:
        """Serves the page until the process (in a notebook: the cell) is stopped.

        :param page: its name, icon, first questions and users; by default the component's name, and no
            login: see :class:`Page`.
        :raises ConfigurationError: Chainlit is not installed (``appbuilder-runtime[chainlit]``), the address
            or the database cannot be used, or a page is served by this process already.
        """
        self._serve_page(self._engine, self._end_turns, host, port, page or Page())

    def chainlit_agent(
        self,
        host: str = "0.0.0.0",  # noqa: S104 - the SDK's default
        port: int = 8091,
        *,
        page: Page | None = None,
    ) -> None:
        """Serves a page for an application on AppBuilder: its events as steps that fold open, files given
        with a message uploaded to the conversation, questions of a workflow asked and answered.

        :raises ConfigurationError: (a ValueError) the component is no AppBuilderClient; or as
            :meth:`chainlit_component`.
        """
        kind = client_type()
        if kind is None or not isinstance(self.component, kind):
            raise ConfigurationError(
                "chainlit_agent serves an AppBuilderClient; for other components there is chainlit_component."
            )
        page = page or Page()
        page = replace(page, name=page.name or "AppBuilder", uploads=True, steps=True)
        self._serve_page(self._engine, self._end_turns, host, port, page)

    def chainlit_component_debug(
        self,
        host: str = "0.0.0.0",  # noqa: S104 - the SDK's default
        port: int = 8092,
        query_name: str = "query",
        tool_eval_args: Mapping[str, Any] | None = None,
        *,
        page: Page | None = None,
    ) -> None:
        """Serves a page that calls the component's ``tool_eval`` and shows each typed output as what it is.

        Model calls are shown as steps, errors with their traceback.

        :param query_name: the argument of ``tool_eval`` that gets what the user says.
        :param tool_eval_args: its further arguments.
        :raises ConfigurationError: the component has no ``tool_eval`` that takes these; or as
            :meth:`chainlit_component`.
        """
        tool = ToolEval(self.component, query_name, dict(tool_eval_args or {}))
        engine = ForkSafe(lambda: self._engine_of(tool))
        page = replace(page or Page(), debug=True)
        self._serve_page(engine, lambda: self._end(engine.get()), host, port, page)

    def _serve_page(
        self, engine: ForkSafe[Engine], drain: Any, host: str, port: int, page: Page
    ) -> None:
        logs.configure(self.settings.loglevel)
        try:
            from appbuilder.serve.page.page_app import create_app
            from appbuilder.serve.page.page_server import serve
        except ModuleNotFoundError as missing:
            raise ConfigurationError(
                f"The chat page needs {missing.name}: pip install 'appbuilder-runtime[chainlit]'"
            ) from None
        self._say_unready()
        self._store.prepare()
        self._store.prepare_conversations()
        if not page.users and page.user_header is None:
            warn_if_open(host)
        app = create_app(
            self._completed(page),
            engine.get,
            self._store.repository(),
            self.settings,
            database=repr(self._store),
        )
        # The store last: a browser that is sent away may ask for something on its way.
        serve(app, host=host, port=port, settings=self.settings, drain=drain, close=self._store.close)


__all__ = ["ChainlitRuntime", "Page", "Starter", "TrustedHeader"]
