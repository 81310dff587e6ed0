"""The one logger. Texts of users, credentials and database passwords are never given to it."""

from __future__ import annotations

import logging

logger = logging.getLogger("appbuilder")


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




def only_errors_of(library: str) -> None:
    """Lets through what a library logs as an error, and nothing else of it."""
    logging.getLogger(library).setLevel(logging.ERROR)
