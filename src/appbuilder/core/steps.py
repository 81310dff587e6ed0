"""Steps: what a run did on the way to its answer, for whoever wants to see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelStep:
    """One call of a model. It is told twice under one ``id``: when it begins, and ``ended``.

    :param model: the name the call was sent to, ``local`` or ``openai/gpt-5`` for instance.
    :param prompt: the chat messages, each with ``role`` and ``content``; or one, the query, where the gateway
        holds the prompt.
    :param usage: tokens as the server counted them; empty where it did not say.
    :param milliseconds: until the last piece.
    :param error: the kind of error it failed with; empty where it did not.
    """

    id: str
    model: str
    prompt: Sequence[Mapping[str, Any]]
    started_at: datetime
    ended: bool = False
    answer: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)
    milliseconds: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class EventStep:
    """Something else that happened, an event of a cloud application for instance. It may be told again under
    one ``id`` while it goes on.

    :param name: what happened, in a few words.
    :param detail: what there is to know of it, a JSON value.
    :param error: what went wrong; empty where nothing did.
    """

    id: str
    name: str
    detail: Any
    started_at: datetime
    ended: bool = True
    error: str = ""


Step = ModelStep | EventStep
OnStep = Callable[[Step], None]
"""Is told of a step, in the thread that makes it. Must return soon and raise nothing."""
