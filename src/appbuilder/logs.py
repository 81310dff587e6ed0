"""The logger, and what a service makes of its lines.

Texts of users, credentials and database passwords are never given to the logger. What others raise may hold
them in its text, so a service's handler writes where an error came from and what kind it is, and the text
only where ``APPBUILDER_LOG_TEXTS`` asks for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

logger = logging.getLogger("appbuilder")
access = logging.getLogger("appbuilder.access")
"""One line per request."""

LONGEST_TEXT = 20_000
"""Characters of a message or an answer in a line that was asked for."""

_QUIET = (
    *("httpx", "httpx2", "httpcore", "httpcore2", "openai", "chainlit", "engineio", "socketio"),
    *("alembic", "watchfiles"),
)
"""Libraries whose lines below WARNING hold addresses, headers or bodies, or nothing of use."""

_texts_wanted = False


def set_level(level: str) -> None:
    """Sets the level, unless the program has; what is done with the lines is the program's own affair."""
    if logger.level == logging.NOTSET:
        logger.setLevel(level)


def configure(level: str) -> None:
    """Sets the level; adds a handler to standard error where the program configured no logging itself."""
    logger.setLevel(level)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False  # a component's first logging.info() gives the root logger a handler too


def configure_service(
    level: str,
    *,
    form: str,
    texts: bool,
    error_texts: bool = False,
    requests: bool = False,
    turn_ids: Callable[[], Mapping[str, str]],
) -> None:
    """Sends all lines of a service's process to standard error, in one form.

    A program that gave the root logger a handler of its own keeps that for its own lines; ours and the
    server's go through this one all the same. Calling it again replaces what it did before.

    :param level: of our own lines; those of the component and of libraries begin at INFO at the lowest.
    :param form: ``text`` or ``json``.
    :param texts: whether lines may hold what users and the component say, and the texts of errors.
    :param error_texts: whether they hold the texts of errors, without those of users.
    :param requests: whether there is a line for each request.
    :param turn_ids: the ids of the turn that runs in the current context.
    """
    from appbuilder import log_format

    global _texts_wanted  # noqa: PLW0603 - of the process, as the loggers are
    _texts_wanted = texts
    handler = log_format.handler(form, texts=texts or error_texts, turn_ids=turn_ids)
    root, server = logging.getLogger(), logging.getLogger("uvicorn")
    ours = [root] if not has_foreign_handler(root) else [logger, server]
    for each in (root, logger, server):
        for old in [old for old in each.handlers if isinstance(old, log_format.Handler)]:
            each.removeHandler(old)
        each.propagate = each not in ours
    for each in ours:
        each.addHandler(handler)
    logger.setLevel(level)
    access.setLevel(logging.NOTSET if requests else logging.WARNING)
    least = max(logging.INFO, logger.level)
    server.setLevel(least)
    if root in ours:
        root.setLevel(least)
    for name in _QUIET:
        library = logging.getLogger(name)
        library.setLevel(max(logging.WARNING, library.level))


def has_foreign_handler(root: logging.Logger) -> bool:
    from appbuilder.log_format import Handler

    return any(not isinstance(handler, Handler) for handler in root.handlers)


def texts_wanted() -> bool:
    """Whether lines may hold what users and the component say."""
    return _texts_wanted


def log_texts(message: str, answer: str, ids: Mapping[str, str]) -> None:
    """Writes down what was said in a turn; to be called only where :func:`texts_wanted`."""
    logger.info(
        "message: %s\nanswer: %s",
        message[:LONGEST_TEXT],
        answer[:LONGEST_TEXT],
        extra={**ids, "texts": {"message": message[:LONGEST_TEXT], "answer": answer[:LONGEST_TEXT]}},
    )


def only_errors_of(library: str) -> None:
    """Lets through what a library logs as an error, and nothing else of it."""
    logging.getLogger(library).setLevel(logging.ERROR)
