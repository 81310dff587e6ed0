"""How a component speaks to a model, whichever server runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

Timeout: TypeAlias = "float | tuple[float, float] | None"
"""Seconds: of silence, or (to connect, of silence); None: the settings'."""


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
    :param callers_credential: True where that token came with the request that is being answered: a refusal
        of it is then the caller's to mend.
    :param gateway: address of the AppBuilder gateway; empty: the settings'.
    :param request_id: the id the AppBuilder gateway is to file the call under; None: a new one.
    """

    service: str
    inputs: Mapping[str, str]
    messages: Sequence[Mapping[str, str]]
    parameters: ModelParameters = field(default_factory=ModelParameters)
    stream: bool = False
    credential: Callable[[], str] | None = None
    callers_credential: bool = False
    gateway: str = ""
    request_id: str | None = None
    timeout: Timeout = None

    @property
    def texts(self) -> list[str]:
        """All it holds of users' words, which must not reach the log."""
        return [*self.inputs.values(), *(message["content"] for message in self.messages)]


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer. ``usage`` and ``extra`` are empty but where the server sent them; so is
    ``response``: its ``id``, its ``model`` and the ``finish_reasons``, as it tells them.
    """

    text: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    response: Mapping[str, Any] = field(default_factory=dict)


class ModelStream(Iterator[Delta], Protocol):
    """An answer under way. Closing it closes the connection; iterating to the end gives it back.

    :raises ModelError: (while iterating) the server failed, refused or fell silent.
    :raises Unauthenticated: (while iterating) the server refused the caller's credential.
    :raises RateLimited: (while iterating) the server wants fewer calls.
    :raises TurnCancelled: the turn this was opened in was stopped.
    """

    id: str | None
    """The server's id of the call, where it sent one."""

    def close(self) -> None:
        """Breaks the answer off and gives the connection back; may be called more than once.

        To be called where the stream is iterated; from elsewhere, cancel the turn.
        """


@dataclass(frozen=True, slots=True)
class Server:
    """Whom a model's calls go to, as traces name it.

    :param provider: as OpenTelemetry's conventions name it (``gen_ai.provider.name``).
    :param model: the model's name there.
    """

    provider: str
    model: str
    url: str = ""


class Model(Protocol):
    """A model that can be called. One object serves many calls, from any thread."""

    def open(self, call: ModelCall) -> ModelStream:
        """Sends the call; returns when the server began to answer.

        What can pass (no connection, time-out, 429, 5xx) is tried again here, ``model_retries`` times.

        :raises ModelError: the server could not be reached, failed, or refused the call.
        :raises Unauthenticated: the server refused the caller's credential.
        :raises RateLimited: the server wants fewer calls.
        :raises TurnCancelled: the current turn was stopped.
        """
