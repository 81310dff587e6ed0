"""What the package tells of itself in numbers: by a turn, a call, a commit; and Prometheus's form of it."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.unit.engines import ask, async_engine, engine_of, text_from

from appbuilder import telemetry
from appbuilder.core.message import AnswerMessage, Message
from appbuilder.core.store import TurnRecord
from appbuilder.errors import (
    AppBuilderError,
    InvalidRequest,
    Overloaded,
    SessionBusy,
    StoreUnavailable,
    TurnCancelled,
)
from appbuilder.models.base import ModelCall
from appbuilder.models.registry import call_model
from appbuilder.serve.server.prometheus_sink import PrometheusSink
from appbuilder.settings import Settings
from appbuilder.store.databases import urls
from appbuilder.store.sessions.session_store import SqlStore
from appbuilder.testing import ScriptedModel, model_named

DOCS = Path(__file__).resolve().parents[2] / "docs" / "observability.md"


class Told(telemetry.Sink):
    """Everything that was told, in order: (name, arguments without times)."""

    def __init__(self) -> None:
        self.all: list[tuple[Any, ...]] = []
        self.changed = threading.Condition()

    def _add(self, *told: Any) -> None:
        with self.changed:
            self.all.append(told)
            self.changed.notify_all()

    def wait_for(self, *told: Any) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: told in self.all, 10), self.all

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        return [told for told in self.all if told[0] in names]

    def turn_began(self) -> None:
        self._add("began")

    def turn_ended(self, door: str, outcome: str, pieces: int) -> None:
        self._add("ended", door, outcome, pieces)

    def turn_refused(self, door: str) -> None:
        self._add("refused", door)

    def turn_waits(self, change: int) -> None:
        self._add("waits", change)

    def first_piece(self, door: str, seconds: float) -> None:
        assert seconds >= 0
        self._add("first", door)

    def gap(self, seconds: float) -> None:
        self._add("gap")

    def tokens(self, prompt: int, completion: int) -> None:
        self._add("tokens", prompt, completion)

    def reader_left(self) -> None:
        self._add("left")

    def error(self, kind: str) -> None:
        self._add("error", kind)

    def committed(self, seconds: float, turns: int) -> None:
        assert seconds > 0
        self._add("committed", turns)

    def pool_waited(self, seconds: float) -> None:
        assert seconds >= 0
        self._add("pool")

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        self._add("request", route, method, status)

    def stream(self, change: int) -> None:
        self._add("stream", change)


@pytest.fixture
def told() -> Iterator[Told]:
    sink = Told()
    telemetry.report_to(sink)
    yield sink
    telemetry.report_to(telemetry.NOBODY)


def test_a_streamed_turn_tells_its_door_its_first_piece_and_how_many(told: Told) -> None:
    engine, _, _ = engine_of(lambda message, stream: Message(iter(["a", "b", "c"])))
    text_from(engine.start(ask(stream=True, door="openai")))
    told.wait_for("ended", "openai", "done", 3)
    assert told.all == [("began",), ("first", "openai"), ("ended", "openai", "done", 3)]


def test_an_asynchronous_turn_tells_the_same(told: Told) -> None:
    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        async def pieces() -> Any:
            yield "a"
            yield "b"

        return Message(pieces())

    engine, _ = async_engine(script)
    text_from(engine.start(ask(stream=True)))
    told.wait_for("ended", "chat", "done", 2)
    assert told.named("began", "first") == [("began",), ("first", "chat")]


def test_a_turn_that_fails_says_what_kind_of_error_and_not_what_it_says(told: Told) -> None:
    class Theirs(StoreUnavailable):
        """Derived by a component: there may be any number of these."""

    def script(message: Message[Any], stream: bool) -> Message[Any]:
        raise Theirs("the user's words") if message.content == "ours" else ValueError("the user's words")

    engine, _, _ = engine_of(script)
    engine.execute(ask(message="ours"))
    engine.execute(ask(message="any"))
    assert told.named("ended", "error") == [
        ("error", "StoreUnavailable"), ("ended", "chat", "failed", 0),
        ("error", "ComponentError"), ("ended", "chat", "failed", 0),
    ]


def test_a_turn_that_was_stopped_is_incomplete(told: Told) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def script(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[str]:
            yield "a"
            begun.set()
            assert go_on.wait(10)
            yield "b"

        return Message(pieces())

    engine, _, _ = engine_of(script)
    run = engine.start(ask(stream=True))
    run.attach()
    assert begun.wait(10)
    run.detach()
    go_on.set()
    run.log.wait_outcome()
    assert told.named("left", "error") == [("left",), ("error", "TurnCancelled")]
    assert ("ended", "chat", "incomplete", 1) in told.all or ("ended", "chat", "incomplete", 2) in told.all


def test_a_reader_that_leaves_after_the_end_did_not_leave_early(told: Told) -> None:
    engine, _, _ = engine_of(lambda message, stream: "a")
    run = engine.start(ask(stream=True))
    run.attach()
    run.log.wait_outcome()
    run.detach()
    assert not told.named("left")


def test_turns_that_are_not_admitted_are_refused_and_never_began(told: Told) -> None:
    engine, _, _ = engine_of(lambda message, stream: "a", max_turns=0)
    with pytest.raises(Overloaded):
        engine.start(ask(door="page"))
    with pytest.raises(InvalidRequest):
        engine.start(ask(args={"self": 1}))
    assert told.all == [
        ("refused", "page"), ("error", "Overloaded"), ("refused", "chat"), ("error", "InvalidRequest")
    ]


def test_a_turn_waits_for_its_session_and_gives_up(told: Told) -> None:
    go_on = threading.Event()

    def script(message: Message[Any], stream: bool) -> str:
        assert go_on.wait(10)
        return "a"

    engine, _, _ = engine_of(script, session_wait=0.05)
    first = engine.start(ask())
    second = engine.start(ask())
    assert isinstance(second.log.wait_outcome().error, SessionBusy)
    assert told.named("waits", "ended", "error") == [
        ("waits", 1), ("waits", -1), ("error", "SessionBusy"), ("ended", "chat", "refused", 0)
    ]
    go_on.set()
    first.log.wait_outcome()
    assert len(told.named("began")) == len(told.named("ended")) == 2


def test_a_turn_stopped_while_it_waits_is_incomplete(told: Told) -> None:
    go_on = threading.Event()

    def script(message: Message[Any], stream: bool) -> str:
        assert go_on.wait(10)
        return "a"

    engine, _, _ = engine_of(script)
    first, second = engine.start(ask()), engine.start(ask())
    told.wait_for("waits", 1)
    second.cancel(TurnCancelled("stopped"))
    second.log.wait_outcome()
    assert ("ended", "chat", "incomplete", 0) in told.all
    go_on.set()
    first.log.wait_outcome()


# Tokens


USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def test_tokens_are_those_of_model_calls_whatever_the_answer_says(told: Told) -> None:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        call = ModelCall("playground", {"query": "q"}, [{"role": "user", "content": "q"}])
        for _ in range(2):
            list(call_model("m", call, Settings()))
        return AnswerMessage(content="a", token_usage=USAGE)

    engine, _, _ = engine_of(script)
    with model_named("m", ScriptedModel(["a"], USAGE)):
        engine.execute(ask())
    assert told.named("tokens") == [("tokens", 3, 4)] * 2


def test_tokens_of_a_component_that_calls_no_model_of_ours_are_its_answer_s(told: Told) -> None:
    engine, _, _ = engine_of(lambda message, stream: AnswerMessage(content="a", token_usage=USAGE))
    engine.execute(ask())
    assert told.named("tokens") == [("tokens", 3, 4)]


# The database


def test_turns_that_are_written_together_are_told_as_one_commit(told: Told, tmp_path: Path) -> None:
    store = SqlStore(urls.parse(f"sqlite:///{tmp_path}/chat.db"), Settings())
    store.prepare()
    store.history("s1", "k", 5)  # opens it, which asks the database for a sign of life
    before = len(told.named("pool"))
    count, together = 8, threading.Barrier(8)

    def write(number: int) -> None:
        together.wait(10)
        store.commit(TurnRecord(f"s{number}", "r", [("k", {"content": "x"})]))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(count)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(10)
    commits = told.named("committed")
    assert sum(turns for _, turns in commits) == count
    assert len(told.named("pool")) == before
    assert len(store.history("s1", "k", 5)) == 1
    assert len(told.named("pool")) == before + 1
    store.close()


# Prometheus


def told_everything(sink: telemetry.Sink) -> None:
    """Calls each method of the protocol once."""
    sink.turn_began()
    sink.turn_ended("chat", "done", 2)
    sink.turn_refused("chat")
    sink.turn_waits(1)
    sink.first_piece("chat", 0.1)
    sink.gap(0.1)
    sink.tokens(1, 2)
    sink.reader_left()
    sink.error("Overloaded")
    sink.committed(0.1, 3)
    sink.pool_waited(0.1)
    sink.request("/chat", "POST", 200, 0.1)
    sink.stream(1)


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    """The table of docs/observability.md: name -> (type, labels)."""
    row = re.compile(r"^\| `(appbuilder_\w+)` \| (\w+) \| (.*?) \|", re.MULTILINE)
    return {name: (kind, tuple(re.findall(r"`(\w+)`", labels)))
            for name, kind, labels in row.findall(DOCS.read_text())}


def test_the_table_of_metrics_in_the_docs_and_the_code_agree() -> None:
    registry = CollectorRegistry()
    told_everything(PrometheusSink(registry))
    found = {}
    for metric in registry.collect():
        name = metric.name + ("_total" if metric.type == "counter" else "")
        labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
        found[name] = (metric.type, labels)
    table = documented()
    assert {name: kind for name, (kind, _) in found.items()} == {n: kind for n, (kind, _) in table.items()}
    assert {name: labels for name, (_, labels) in found.items()} == {
        name: set(labels) for name, (_, labels) in table.items()
    }


def test_prometheus_counts_what_it_is_told() -> None:
    registry = CollectorRegistry()
    sink = PrometheusSink(registry)
    told_everything(sink)
    sink.turn_began()
    value = registry.get_sample_value
    assert value("appbuilder_turns_total", {"door": "chat", "outcome": "done"}) == 1
    assert value("appbuilder_turns_total", {"door": "chat", "outcome": "refused"}) == 1
    assert value("appbuilder_turns_in_flight") == 1
    assert value("appbuilder_turns_waiting") == 1
    assert value("appbuilder_pieces_total") == 2
    assert value("appbuilder_tokens_total", {"kind": "prompt"}) == 1
    assert value("appbuilder_tokens_total", {"kind": "completion"}) == 2
    assert value("appbuilder_commit_turns_sum") == 3
    labels = {"route": "/chat", "method": "POST", "status": "200"}
    assert value("appbuilder_http_requests_total", labels) == 1
    assert value("appbuilder_streams_open") == 1


def test_kinds_of_errors_are_the_classes_of_our_tree() -> None:
    assert telemetry.kind_of(AppBuilderError("x")) == "AppBuilderError"
    assert telemetry.kind_of(OSError("x")) == "Exception"


def test_a_runtime_without_the_service_loads_neither_prometheus_nor_opentelemetry() -> None:
    program = (
        "import sys\n"
        "from appbuilder.core.component import Component\n"
        "from appbuilder.core.message import Message\n"
        "from appbuilder.utils.flask_deploy import FlaskRuntime\n"
        "class Echo(Component):\n"
        "    def run(self, message, stream=False):\n"
        "        return Message('echo')\n"
        "app = FlaskRuntime(Echo(), 'sqlite://').create_flask_app()\n"
        "assert app.test_client().post('/chat', json={'message': 'x'}).status_code == 200\n"
        "print([name for name in sys.modules if name.startswith(('prometheus', 'opentelemetry'))])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
