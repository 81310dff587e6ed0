"""Chainlit, configured before it is imported.

At import Chainlit fixes its root folder (and makes ``.files`` and ``.chainlit`` in it), reads ``.env`` and
its configuration file, and makes its one application. So its root is a folder of this package, the
configuration is
written there first, and what the user's working directory holds is left alone.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from appbuilder import logs
from appbuilder.errors import ConfigurationError
from appbuilder.models.local.shared_state import runtime_folder
from appbuilder.models.local.weights import cache_folder
from appbuilder.serve.page.chainlit_folder import PageFolder
from appbuilder.serve.page.page_texts import text
from appbuilder.settings import Settings

OLDEST = (2, 12)

_CONFIGURATION = """\
[project]
allow_origins = []
user_env = []
cache = false
session_timeout = {session_timeout}

[features]
unsafe_allow_html = false
latex = true
edit_message = false
allow_thread_sharing = false
favorites = false
user_message_markdown = false
auto_tag_thread = false

[features.spontaneous_file_upload]
enabled = false

[features.audio]
enabled = false

[features.mcp]
enabled = false

[UI]
name = "Assistant"
cot = "full"
confirm_new_chat = false

[meta]
generated_by = "{version}"
"""
SESSION_TIMEOUT = 300
"""Seconds a browser that lost its connection may take to come back to where it was without loading again."""

# Its other channels (Slack, Teams), which would be opened or fail to be, and places of cookies.
_READ_AT_IMPORT = (
    "CHAINLIT_APP_ROOT",
    "CHAINLIT_ENV_FILE",
    "CHAINLIT_ROOT_PATH",
    "CHAINLIT_AUTH_COOKIE_NAME",
    "CHAINLIT_AUTH_COOKIE_PATH",
    "CHAINLIT_COOKIE_SAMESITE",
    "SLACK_BOT_TOKEN",
    "TEAMS_APP_ID",
    "TRACELOOP_TELEMETRY",
)
# Chinese without a region, or of one that has no translation of its own.
_FURTHER_TRANSLATIONS = {"zh-HK": "zh-TW", "zh-MO": "zh-TW"}

# Those in which this page's own words are written, too.
_OWN_WORDS = {"en-US": "en-US", "zh-CN": "zh-CN", "zh": "zh-CN"}

_folder: PageFolder | None = None


def load(settings: Settings) -> Any:
    """Chainlit's package, imported for this process's page.

    :raises ConfigurationError: it is not installed, too old, or was imported by the program before; or
        there is no folder to write to.
    """
    global _folder  # noqa: PLW0603 - Chainlit is a module global too: one a process
    if _folder is None:
        if "chainlit.config" in sys.modules:
            raise ConfigurationError(
                "Chainlit was imported before the page was started, and has fixed its folders by then: "
                "do not import chainlit in a program that uses ChainlitRuntime."
            )
        installed = _version()
        _folder = _make_folder(settings)
        atexit.register(_folder.remove)
        _write(_folder.path, installed)
        # Access is decided in front of Chainlit; it gets a token with each request, good in this
        # process only. These two it reads at every request.
        os.environ["CHAINLIT_CUSTOM_AUTH"] = "1"
        os.environ["CHAINLIT_AUTH_SECRET"] = secrets.token_hex(32)
        logs.only_errors_of("chainlit")
    with _environment(_folder.path):
        import chainlit
        import chainlit.server
        import chainlit.session
    return chainlit


def _make_folder(settings: Settings) -> PageFolder:
    """In the cache; a user without a home, or with one that cannot be written, has the temporary folder."""
    try:
        return PageFolder(cache_folder(settings))
    except (OSError, ConfigurationError) as error:
        problem = error
    try:
        if not settings.cache_dir:
            return PageFolder(runtime_folder())
    except (OSError, ConfigurationError) as error:
        problem = error
    raise ConfigurationError(
        f"The chat page needs a folder for its files ({problem}): set APPBUILDER_CACHE_DIR."
    )


def no_page() -> str:
    """The sentence for a service that has no page because Chainlit is not installed."""
    return f"Serving without the chat page. {_missing('serve')}"


def with_page(settings: Settings, *, needed: bool = False) -> Settings:
    """*settings* that say whether there is a page; where they leave it open, it depends on Chainlit.

    :param needed: the program has said how the page looks, so there must be one.
    :raises ConfigurationError: the page is asked for, and Chainlit is not installed.
    """
    wanted = settings.page or (settings.page is None and needed)
    installed = find_spec("chainlit") is not None  # which does not import it
    if wanted and not installed:
        raise ConfigurationError(_missing("serve"))
    return replace(settings, page=installed) if settings.page is None else settings


def translations() -> list[str]:
    """The languages Chainlit's page has words in, ``zh-CN`` for instance."""
    assert _folder is not None, "load() comes first"
    return [each.stem for each in (_folder.path / ".chainlit" / "translations").glob("*.json")]


def cleanup() -> None:
    """Removes Chainlit's folder, of a process that is about to be ended by a signal."""
    if _folder is not None:
        _folder.remove()


def _version() -> str:
    try:
        found = version("chainlit")
    except PackageNotFoundError:
        raise ConfigurationError(_missing("chainlit")) from None
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST:
        raise ConfigurationError(
            f"The chat page needs Chainlit 2.12 or newer; this is {found}: pip install -U chainlit"
        )
    return found


def _missing(extra: str) -> str:
    """How to get Chainlit, of which no release is for Python 3.14."""
    if sys.version_info >= (3, 14):
        return "The chat page needs Chainlit, which needs Python 3.13 or older."
    return f"The chat page needs Chainlit: pip install 'appbuilder-runtime[{extra}]'"


def _write(root: Path, installed: str) -> None:
    translations = root / ".chainlit" / "translations"
    translations.mkdir(parents=True)
    configuration = _CONFIGURATION.format(version=installed, session_timeout=SESSION_TIMEOUT)
    (root / ".chainlit" / "config.toml").write_text(configuration, encoding="utf-8")
    spec = find_spec("chainlit")  # which does not import it
    assert spec is not None
    assert spec.origin is not None
    shipped = Path(spec.origin).parent / "translations"
    for name, like in _FURTHER_TRANSLATIONS.items():
        source = shipped / f"{like}.json"
        if source.exists():
            shutil.copyfile(source, translations / f"{name}.json")
    for name, like in _OWN_WORDS.items():
        words = json.loads((shipped / f"{like}.json").read_text("utf-8"))
        words["threadHistory"]["sidebar"]["empty"] = text("no_conversations", name)
        (translations / f"{name}.json").write_text(json.dumps(words), "utf-8")


@contextlib.contextmanager
def _environment(root: Path) -> Iterator[None]:
    """What Chainlit reads while it is imported; afterwards the environment is the program's again."""
    before = {name: os.environ.pop(name, None) for name in _READ_AT_IMPORT}
    os.environ["CHAINLIT_APP_ROOT"] = str(root)
    os.environ["CHAINLIT_ENV_FILE"] = os.devnull
    os.environ["TRACELOOP_TELEMETRY"] = "false"
    homeless = os.path.expanduser("~") == "~"
    if homeless:  # a module that Chainlit imports cannot be imported then
        os.environ["HOME"] = str(root)
    try:
        yield
    finally:
        if homeless:
            del os.environ["HOME"]
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
