"""What the package tells of itself, as Prometheus metrics. Every name stands in docs/observability.md.

Where ``PROMETHEUS_MULTIPROC_DIR`` is set when this is imported, the values lie in files there, one set per
worker process, and any worker answers for all (https://prometheus.github.io/client_python/multiprocess/).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from appbuilder.serve.server.metrics_dir import FOLDER
from appbuilder.telemetry import Sink

_T = TypeVar("_T")

_ANSWERS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_GAPS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)
_DATABASE = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0)
_GROUPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MOST_ROUTES = 512
"""Combinations of route, method and status that are counted apart; a router has fewer."""


class PrometheusSink(Sink):
    """A sink that counts in *registry*."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(f"appbuilder_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"appbuilder_{name}", text, registry=registry, multiprocess_mode="livesum")

        def histogram(
            name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()
        ) -> Histogram:
            return Histogram(f"appbuilder_{name}", text, labels, registry=registry, buckets=buckets)

        turns = counter("turns", "Turns that are over.", ("door", "outcome"))
        first = histogram("first_piece_seconds", "From admission to the first piece.", _ANSWERS, ("door",))
        tokens = counter("tokens", "Tokens that models read and wrote.", ("kind",))
        errors = counter("errors", "Turns that were refused, stopped or failed, by kind of error.", ("kind",))
        requests = counter("http_requests", "Requests answered.", ("route", "method", "status"))
        request_seconds = histogram("http_request_seconds", "Until the answer's end.", _ANSWERS, ("route",))
        self._in_flight = gauge("turns_in_flight", "Turns admitted and not over.")
        self._waiting = gauge("turns_waiting", "Turns in flight that wait for their session.")
        self._pieces = counter("pieces", "Pieces of answers.")
        self._gap = histogram("gap_seconds", "Between two batches of pieces that one reader got.", _GAPS)
        self._left = counter("disconnects", "Runs whose last reader left before their end.")
        self._commit = histogram("commit_seconds", "A transaction that writes turns.", _DATABASE)
        self._group = histogram("commit_turns", "Turns written in one transaction.", _GROUPS)
        self._pool = histogram("pool_wait_seconds", "Until the pool gave a connection.", _DATABASE)
        self._streams = gauge("streams_open", "Responses that stream.")
        self._prompt, self._completion = tokens.labels("prompt"), tokens.labels("completion")
        # `labels` looks its child up under a lock; here the same ones come again and again.
        self._turns = _remembered(turns.labels)
        self._first = _remembered(first.labels)
        self._errors = _remembered(errors.labels)
        self._requests = _remembered(requests.labels)
        self._request_seconds = _remembered(request_seconds.labels)

    def turn_began(self) -> None:
        self._in_flight.inc()

    def turn_ended(self, door: str, outcome: str, pieces: int) -> None:
        self._in_flight.dec()
        self._turns(door, outcome).inc()
        if pieces:
            self._pieces.inc(pieces)

    def turn_refused(self, door: str) -> None:
        self._turns(door, "refused").inc()

    def turn_waits(self, change: int) -> None:
        self._waiting.inc(change)

    def first_piece(self, door: str, seconds: float) -> None:
        self._first(door).observe(seconds)

    def gap(self, seconds: float) -> None:
        self._gap.observe(seconds)

    def tokens(self, prompt: int, completion: int) -> None:
        self._prompt.inc(prompt)
        self._completion.inc(completion)

    def reader_left(self) -> None:
        self._left.inc()

    def error(self, kind: str) -> None:
        self._errors(kind).inc()

    def committed(self, seconds: float, turns: int) -> None:
        self._commit.observe(seconds)
        self._group.observe(turns)

    def pool_waited(self, seconds: float) -> None:
        self._pool.observe(seconds)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        self._requests(route, method, str(status)).inc()
        self._request_seconds(route).observe(seconds)

    def stream(self, change: int) -> None:
        self._streams.inc(change)


def _remembered(labels: Callable[..., _T]) -> Callable[..., _T]:
    return lru_cache(_MOST_ROUTES)(labels)


class Exposition:
    """What a scrape gets of this process, or of all workers."""

    def __init__(self) -> None:
        self.shared = bool(os.environ.get(FOLDER))
        if self.shared:
            os.makedirs(os.environ[FOLDER], exist_ok=True)
        self._registry = CollectorRegistry()
        self.sink = PrometheusSink(self._registry)
        if not self.shared:
            ProcessCollector(registry=self._registry)

    def written(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format *accept* asks for, and its content type. It may block: it reads files."""
        registry = self._registry
        if self.shared:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type
