"""Sending traces: an OpenTelemetry provider for a process of the service, where an endpoint is configured."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from appbuilder.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

LAST_SPANS = 3.0
"""Seconds the last spans have to leave."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP = "http/protobuf"


def set_up(name: str, environ: Mapping[str, str] | None = None) -> Callable[[], None]:
    """Sets this process's tracer provider up, if an OTLP endpoint is configured and no one has set one.

    To be called in the process that serves, after any fork. All further variables are OpenTelemetry's own.

    :param name: of the service, where ``OTEL_SERVICE_NAME`` says no other.
    :returns: sends what is still to be sent and stops; to be called at the end of the process.
    :raises ConfigurationError: the extra ``otel`` is not installed, or the protocol is not ours.
    """
    env = os.environ if environ is None else environ
    if not _wanted(env):
        return _nothing
    protocol = next((env[each] for each in _PROTOCOLS if env.get(each)), _HTTP)
    if protocol != _HTTP:
        raise ConfigurationError(f"Traces are sent as {_HTTP}; {_PROTOCOLS[1]} asks for {protocol!r}.")
    try:
        from opentelemetry import trace

        if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            return _nothing  # the program's own, or opentelemetry-instrument's
        provider = _provider(name)
    except ModuleNotFoundError as missing:
        raise ConfigurationError(
            f"An endpoint for traces is set, and {missing.name} is not installed: "
            "pip install 'appbuilder-runtime[otel]'"
        ) from None
    trace.set_tracer_provider(provider)
    return lambda: _end(provider)


def _wanted(env: Mapping[str, str]) -> bool:
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if env.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return False
    return any(env.get(each) for each in _ENDPOINTS)


def _provider(name: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": name}).merge(OTELResourceDetector().detect())
    # At the end of the process it would wait for an endpoint that is gone.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _end(provider: TracerProvider) -> None:
    """Sends what is left, if that can be done in time: an endpoint that is gone would be tried for long."""
    sending = threading.Thread(target=provider.shutdown, name="appbuilder-traces", daemon=True)
    sending.start()
    sending.join(LAST_SPANS)


def _nothing() -> None:
    """There is nothing to send."""
