"""How a component speaks to a model, whichever server runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ModelParameters:
    """How the model is to answer; names and defaults are the AppBuilder SDK's.

    ``max_output_tokens`` counts tokens; ``stop`` ends the answer before any of its texts; ``further`` are
    passed on as they are.
    """

    temperature: float = 1e-10
    top_p: float = 0.0
    max_output_tokens: int = 1024
    disable_search: bool = True
    response_format: str = "text"
    stop: Sequence[str] = ()
    further: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call: what the gateway's service gets, and what any chat model gets instead.

    :param service: the gateway's service: ``"playground"`` or ``"query_rewrite"``.
    :param inputs: the service's inputs, ``query`` first.
    :param messages: the same for servers without the gateway's prompts: ``{"role": ..., "content": ...}``.
    :param credential: returns the AppBuilder token valid now; called only by the gateway.
    """

    service: str
    inputs: Mapping[str, str]
    messages: Sequence[Mapping[str, str]]
    parameters: ModelParameters = field(default_factory=ModelParameters)
    stream: bool = False
    credential: Any = None
    gateway: str = ""
    request_id: str | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer. ``usage`` and ``extra`` are empty but where the server sent them."""

    text: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


class ModelStream(Iterator[Delta], Protocol):
    """An answer under way. Closing it closes the connection; iterating to the end does too.

    :raises ModelError: (while iterating) the server failed, refused or fell silent.
    :raises TurnCancelled: the current turn was stopped.
    """

    id: str | None
    """The server's id of the call, where it sent one."""

    def close(self) -> None:
        """Breaks the answer off and gives the connection back; may be called more than once."""


class Model(Protocol):
    """A model that can be called."""

    def open(self, call: ModelCall) -> ModelStream:
        """Sends the call; returns when the server began to answer.

        :raises ModelError: the server could not be reached, failed, or refused the call.
        """
