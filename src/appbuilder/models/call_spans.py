"""The span of a model call, where the process traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from appbuilder import clock, tracing
from appbuilder.core.context import current_context
from appbuilder.models.base import Delta, ModelCall, Server

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_PORTS = {"https": 443, "http": 80}


class SpanWatch:
    """The span of one call, a child of the current one; see :class:`appbuilder.models.call_watches.Watch`."""

    def __init__(self, call: ModelCall, span: Span) -> None:
        self.span = span
        self._began = clock.monotonic()
        self._first: float | None = None
        self._attributes: dict[str, Any] = {}
        self._prompt = _messages(call) if tracing.captures_texts() else None
        self._texts: list[str] = []

    def take(self, delta: Delta) -> None:
        """A piece came."""
        if self._first is None:
            self._first = clock.monotonic() - self._began
        if delta.usage:
            for ours, theirs in (("prompt_tokens", "input"), ("completion_tokens", "output")):
                if ours in delta.usage:
                    self._attributes[f"gen_ai.usage.{theirs}_tokens"] = delta.usage[ours]
        for name, value in delta.response.items():
            self._attributes[f"gen_ai.response.{name}"] = value
        if self._prompt is not None and delta.text:
            self._texts.append(delta.text)

    def end(self, error: BaseException | None) -> None:
        """The call ended."""
        if self._first is not None:
            self._attributes["gen_ai.response.time_to_first_chunk"] = self._first
        if self._prompt is not None:
            said = tracing.messages([("assistant", "".join(self._texts))])
            self._attributes |= {"gen_ai.input.messages": self._prompt, "gen_ai.output.messages": said}
        tracing.end(self.span, None if error is None else type(error).__name__, self._attributes)


def begin(server: Server, call: ModelCall) -> SpanWatch | None:
    """The watch of a call that begins now; None: this process does not trace."""
    if tracing.tracer() is None:
        return None
    span = tracing.begin(f"chat {server.model}", "client", _attributes(server, call))
    return None if span is None else SpanWatch(call, span)


def _attributes(server: Server, call: ModelCall) -> dict[str, Any]:
    wanted, context = call.parameters, current_context()
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": server.provider,
        "gen_ai.request.model": server.model,
        "gen_ai.request.temperature": wanted.temperature,
        "gen_ai.request.top_p": wanted.top_p,
        "gen_ai.request.max_tokens": wanted.max_output_tokens,
    }
    if wanted.stop:
        attributes["gen_ai.request.stop_sequences"] = list(wanted.stop)
    if wanted.response_format != "text":
        attributes["gen_ai.output.type"] = "json"
    if call.stream:
        attributes["gen_ai.request.stream"] = True
    if context is not None and context.in_runtime:
        attributes["gen_ai.conversation.id"] = context.session_id
    return attributes | _address(server.url)


def _address(url: str) -> dict[str, Any]:
    """Host and port, nothing else of an address: it may hold a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return {}
    if host is None:
        return {}
    return {"server.address": host} | ({} if port is None else {"server.port": port})


def _messages(call: ModelCall) -> str:
    return tracing.messages([(message["role"], message["content"]) for message in call.messages])
