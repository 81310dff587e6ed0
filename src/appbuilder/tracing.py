"""OpenTelemetry, where the process has it: spans for a request, a turn, a model call and a commit.

Nothing is imported here. A process that traces has imported ``opentelemetry`` and set a provider by itself:
``appbuilder serve`` does where an OTLP endpoint is configured, ``opentelemetry-instrument`` does, a program
may. In all others :func:`tracer` is None, for the price of a look into a dictionary.

Names are those of the semantic conventions for generative AI, https://opentelemetry.io/schemas/gen-ai/1.42.0,
and for HTTP, 1.44.0.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from appbuilder._version import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanKind, Tracer

SCHEMA = "https://opentelemetry.io/schemas/gen-ai/1.42.0"
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

_last: tuple[Any, Any] = (None, None)


def tracer() -> Tracer | None:
    """This process's tracer; None: it does not trace."""
    global _last  # noqa: PLW0603 - the provider seen last, and our tracer of it
    api = _api()
    if api is None:
        return None
    provider = api.get_tracer_provider()
    known, ours = _last
    if provider is not known:
        idle = isinstance(provider, (api.ProxyTracerProvider, api.NoOpTracerProvider))
        ours = None if idle else provider.get_tracer("appbuilder", __version__, SCHEMA)
        _last = provider, ours
    return ours  # type: ignore[no-any-return]


def begin(
    name: str, kind: str, attributes: Mapping[str, Any], parent: Span | None = None, context: Any = None
) -> Span | None:
    """A span that has begun; None: this process does not trace.

    :param kind: ``internal``, ``server`` or ``client``.
    :param parent: the span it belongs to; without one, *context*'s, or the current one.
    """
    ours = tracer()
    if ours is None:
        return None
    if parent is not None:
        context = _api().set_span_in_context(parent)
    return ours.start_span(name, context=context, kind=_kind(kind), attributes=attributes)


def caller(headers: Iterable[tuple[bytes, bytes]]) -> Any:
    """The context a caller says his request belongs to, as this process's propagators read it."""
    from opentelemetry import propagate

    return propagate.extract({name.decode("latin-1"): value.decode("latin-1") for name, value in headers})


def make_current(span: Span) -> None:
    """Makes *span* the current one of the context this is run in."""
    from opentelemetry.context import attach

    attach(_api().set_span_in_context(span))


def current(span: Span) -> Any:
    """Makes *span* the current one within a ``with`` statement, and nothing else."""
    return _api().use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False)


def end(span: Span, error: str | None = None, attributes: Mapping[str, Any] | None = None) -> None:
    """Ends *span*; *error* is the kind of error, if it failed with one. Its text is left out."""
    if attributes:
        span.set_attributes(attributes)
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(_api().StatusCode.ERROR)
    span.end()


def ids(span: Span | None = None) -> dict[str, str]:
    """``trace_id`` and ``span_id`` of *span*, or of the current one; empty without a span."""
    if span is None:
        api = _api()
        if api is None:
            return {}
        span = api.get_current_span()
    context = span.get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def carried() -> dict[str, str]:
    """The headers that tell a server which span calls it (W3C Trace Context); empty if tracing is off.

    Baggage is not among them: who calls us has not said that a model server may see it.
    """
    if tracer() is None:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers


def captures_texts() -> bool:
    """Whether spans may hold what users and models say; no texts leave the process by default."""
    return os.environ.get(CAPTURE, "").lower() in ("true", "span_only", "span_and_event")


def messages(said: Sequence[tuple[str, str]]) -> str:
    """What was said, as (role, text), in the form the conventions give it, as JSON."""
    from appbuilder import jsontext

    parts = [{"role": role, "parts": [{"type": "text", "content": text}]} for role, text in said]
    return jsontext.dumps(parts).decode()


def _api() -> Any:
    """OpenTelemetry's API; None: it is not imported, or another thread is just about to."""
    api = sys.modules.get("opentelemetry.trace")
    return api if hasattr(api, "use_span") else None  # the last of what is used of it here


def _kind(name: str) -> SpanKind:
    return _api().SpanKind[name.upper()]  # type: ignore[no-any-return]
