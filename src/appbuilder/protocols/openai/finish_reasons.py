"""Why an answer ended, as its component says in ``extra``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STOP = "stop"
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Reasons of chat completions for which an answer is not whole, and the reasons of responses for them."""
STOPPED = "stopped"
"""The reason of a response that was stopped, or that ended with its process: OpenAI has none for that."""


def finish_reason(answer: Any) -> str:
    """The reason as chat completions tell it.

    :param answer: an answer's members.
    """
    extra = answer.get("extra") if isinstance(answer, Mapping) else None
    found = extra.get("finish_reason") if isinstance(extra, Mapping) else None
    return found if isinstance(found, str) and found in _INCOMPLETE else STOP


def incomplete_reason(finish: str) -> str | None:
    """The same as responses tell it; None: the answer is whole."""
    return _INCOMPLETE.get(finish)
