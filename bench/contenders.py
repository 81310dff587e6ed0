"""The programs that are measured, each with what starts it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from bench import protocols, venvs
from bench.protocols import Protocol
from bench.venvs import ROOT

THREADS = 1000

GEVENT, GTHREAD, SERVE, SERVE_GEVENT = "gunicorn gevent", "gunicorn gthread", "serve()", "serve(), gevent"
PAGE, CHAINLIT = "chainlit_component()", "chainlit run"
UVICORN, SERVICE, ADK_SERVER = "uvicorn", "appbuilder serve", "adk api_server"


@dataclass(frozen=True, slots=True)
class Contender:
    """A program under a server. ``program`` is the name of a module in bench/apps."""

    label: str
    program: str
    server: str
    protocol: Protocol = protocols.CHAT

    @property
    def python(self) -> str:
        """The interpreter of the environment the program needs."""
        made = {"sdk": venvs.SDK, "adk_agents": venvs.ADK, "agno_history": venvs.AGNO}.get(self.program)
        return str(made.python) if made else sys.executable

    def command(self, port: int, app: str) -> list[str]:
        """What starts the server; one worker process each."""
        module = f"bench.apps.{self.program}"
        if self.server in (SERVE, SERVE_GEVENT, PAGE):
            return [self.python, "-m", module]
        run, options = {
            CHAINLIT: _chainlit, UVICORN: _uvicorn, ADK_SERVER: _adk, GEVENT: _gevent, GTHREAD: _gthread
        }[self.server](self.program, port)
        return [self.python, "-m", *run, *options]

    def environment(self) -> dict[str, str]:
        """The program's environment variables besides ``BENCH_APP`` and ``BENCH_PORT``."""
        return {
            "APPBUILDER_TOKEN": "x",  # the SDK refuses to start without one; nothing is sent anywhere
            "TRACELOOP_TELEMETRY": "false",  # nor by Chainlit
            "APPBUILDER_WORKER_CLASS": "gevent" if self.server == SERVE_GEVENT else "gthread",
        }


def _chainlit(program: str, port: int) -> tuple[list[str], list[str]]:
    options = ["--headless", "--host=127.0.0.1", f"--port={port}", str(ROOT / f"bench/apps/{program}.py")]
    return ["chainlit", "run"], options


def _uvicorn(program: str, port: int) -> tuple[list[str], list[str]]:
    options = ["--loop=uvloop", "--http=httptools", f"--port={port}", "--backlog=8192"]
    return ["uvicorn"], [*options, "--no-access-log", "--log-level=warning", f"bench.apps.{program}:app"]


def _adk(program: str, port: int) -> tuple[list[str], list[str]]:
    options = [f"--port={port}", "--log_level=warning"]
    options += ["--session_service_uri=sqlite:///bench.db", "--auto_create_session"]
    return ["google.adk.cli", "api_server"], [*options, str(ROOT / "bench/apps" / program)]


def _gevent(program: str, port: int) -> tuple[list[str], list[str]]:
    return _gunicorn(program, port, "gevent")


def _gthread(program: str, port: int) -> tuple[list[str], list[str]]:
    return _gunicorn(program, port, "gthread", f"--threads={THREADS}")


def _gunicorn(program: str, port: int, worker: str, *more: str) -> tuple[list[str], list[str]]:
    options = ["--workers=1", "--log-level=warning", "-k", worker, *more, "--worker-connections=2000"]
    return ["gunicorn"], [*options, f"--bind=127.0.0.1:{port}", f"bench.apps.{program}:app"]


@dataclass(frozen=True, slots=True)
class Service(Contender):
    """`appbuilder serve` of a component of bench/apps/service.py.

    :param asynchronous: the component that runs on the event loop.
    :param history: the service keeps each turn, as it does by default.
    :param database: a SQLAlchemy URL; a database server's is known only when it runs.
    """

    label: str = "this product"
    program: str = "service"
    server: str = SERVICE
    protocol: Protocol = protocols.CHAT
    asynchronous: bool = False
    history: bool = True
    workers: int = 1
    database: str = "sqlite:///bench.db"

    def command(self, port: int, app: str) -> list[str]:
        agent = f"{ROOT}/bench/apps/service.py:{app}{'_async' if self.asynchronous else ''}"
        return [str(Path(self.python).with_name("appbuilder")), "serve", agent, f"--port={port}"]

    def environment(self) -> dict[str, str]:
        return {
            "APPBUILDER_HISTORY": str(self.history).lower(),
            "APPBUILDER_WORKERS": str(self.workers),
            "APPBUILDER_DATABASE": self.database,
            "APPBUILDER_MAX_TURNS": "6000",
            "APPBUILDER_LOGLEVEL": "WARNING",  # no access log, as all others
        }

    def on(self, database: str) -> Service:
        """The same on another database."""
        return replace(self, database=database)


PRODUCT = Contender("this product", "product", GEVENT)
PRODUCT_GTHREAD = Contender("this product", "product", GTHREAD)
PRODUCT_SERVE = Contender("this product", "product", SERVE)
PRODUCT_SERVE_GEVENT = Contender("this product", "product", SERVE_GEVENT)
BARE = Contender("bare Flask", "bare", GEVENT)
BARE_GTHREAD = Contender("bare Flask", "bare", GTHREAD)
SDK = Contender("SDK 1.1.5", "sdk", GEVENT)
SDK_GTHREAD = Contender("SDK 1.1.5", "sdk", GTHREAD)
SDK_SERVE = Contender("SDK 1.1.5", "sdk", SERVE)

PRODUCT_PAGE = Contender("this product", "page_product", PAGE)
CHAINLIT_PAGE = Contender("Chainlit alone", "page_chainlit", CHAINLIT)
CHAINLIT_STORED_PAGE = Contender("Chainlit, its own data layer", "page_chainlit_stored", CHAINLIT)

STARLETTE = Contender("bare Starlette", "starlette_bare", UVICORN)
BY_HAND = Contender("by hand: Starlette, sqlite3, one writer", "starlette_history", UVICORN)
ADK = Contender("Google ADK 2.13", "adk_agents", ADK_SERVER, protocols.ADK_RUN)
AGNO = Contender("Agno 3.1 AgentOS", "agno_history", UVICORN, protocols.AGNO_RUN)

ALL = (
    *(PRODUCT, BARE, SDK),
    *(PRODUCT_GTHREAD, BARE_GTHREAD, SDK_GTHREAD),
    *(PRODUCT_SERVE, PRODUCT_SERVE_GEVENT, SDK_SERVE),
)
PAGES = (PRODUCT_PAGE, CHAINLIT_PAGE, CHAINLIT_STORED_PAGE)
