"""One user of the local model: streaming, usage, cancel, errors. The small model cannot talk: no wit here."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.models.conftest import SMALL

from appbuilder import Message, Playground
from appbuilder.core.context import SessionContext, context_var
from appbuilder.errors import (
    ConfigurationError,
    InvalidRequest,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    TurnCancelled,
)
from appbuilder.models.base import ModelCall, ModelParameters
from appbuilder.models.local import client
from appbuilder.models.local.client import Address, connect
from appbuilder.models.local.model import LocalModel, local_model
from appbuilder.models.local.shared_state import Order, State, runtime_folder
from appbuilder.settings import Settings

pytestmark = pytest.mark.timeout(300)
MODEL = f"local/{SMALL}"


def call(text: str, tokens: int) -> ModelCall:
    return ModelCall(
        "playground", {"query": text}, [{"role": "user", "content": text}],
        ModelParameters(max_output_tokens=tokens), stream=True,
    )


def order(settings: Settings | None = None) -> Order:
    return Order.of(SMALL, settings or Settings.load())


@pytest.fixture
def turn() -> Iterator[Any]:
    """The context of a turn, taken back afterwards."""
    before = context_var.set(SessionContext("i", "s", "r"))
    yield context_var.get()
    context_var.reset(before)


@pytest.mark.usefixtures("alone")
class TestAnswers:
    def test_streams_piece_by_piece_and_counts(self) -> None:
        answer = Playground(model=MODEL).run(Message("Count to ten."), stream=True, max_output_tokens=24)
        pieces = list(answer.content or ())
        assert len(pieces) > 4
        usage = answer.token_usage
        assert 0 < usage["completion_tokens"] <= 24
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert answer.content == "".join(pieces)

    def test_a_blocking_call_is_the_joined_stream(self) -> None:
        small = Playground(model=MODEL)
        streamed = small.run(Message("Name a colour."), stream=True, max_output_tokens=16)
        whole = small.run(Message("Name a colour."), max_output_tokens=16)
        assert whole.content == "".join(streamed.content or ())
        assert whole.token_usage == streamed.token_usage

    def test_a_prompt_larger_than_a_slot_is_refused(self) -> None:
        with pytest.raises(ModelRejected, match="context"):
            Playground(model=MODEL).run(Message("word " * 6000))

    def test_a_closed_stream_frees_its_slot(self) -> None:
        settings = replace(Settings.load(), local_slots=1)
        address = connect(order(settings), 120)
        stream = local_model(SMALL, settings).open(call("Count to 10000.", 3000))
        next(stream)
        assert busy(address) == [True]
        stream.close()
        assert seconds_until(lambda: busy(address) == [False]) < 2.0

    def test_a_cancelled_turn_frees_its_slot(self, turn: Any) -> None:
        settings = replace(Settings.load(), local_slots=1)
        address = connect(order(settings), 120)
        stream = local_model(SMALL, settings).open(call("Count to 10000.", 3000))
        next(stream)
        threading.Timer(0.2, turn.cancel_token.cancel).start()
        with pytest.raises(TurnCancelled):
            list(stream)
        assert seconds_until(lambda: busy(address) == [False]) < 2.0

    def test_many_first_calls_start_one_process(self) -> None:
        told: list[Address] = []
        threads = [threading.Thread(target=lambda: told.append(connect(order(), 120))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(told) == 16
        assert len(set(told)) == 1

    def test_strangers_get_nothing(self) -> None:
        address = connect(order(), 120)
        body = {"messages": [{"role": "user", "content": "Hi"}]}
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = httpx2.post(f"{address.url}/v1/chat/completions", json=body, headers=headers)
            assert answer.status_code == 401

    def test_its_files_are_for_this_user_alone(self, alone: Path) -> None:
        connect(order(), 120)
        assert alone.stat().st_mode & 0o777 == 0o700
        assert {file.stat().st_mode & 0o077 for file in alone.iterdir()} == {0}


def answer_wrongly(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(b"0" * 64)


def busy(address: Address) -> list[bool]:
    slots = httpx2.get(f"{address.url}/slots", headers={"Authorization": f"Bearer {address.key}"}).json()
    return [slot["is_processing"] for slot in slots]


def seconds_until(happened: Any) -> float:
    start = time.monotonic()
    while not happened():
        assert time.monotonic() - start < 30
        time.sleep(0.02)
    return time.monotonic() - start


class TestErrors:
    def test_an_unknown_model(self) -> None:
        with pytest.raises(ConfigurationError, match=r"not one of `qwen2.5-coder-0.5b`, `smollm2-135m`"):
            local_model("gpt-9", Settings())

    def test_a_file_that_is_no_model(self, tmp_path: Path) -> None:
        file = tmp_path / "notes.gguf"
        file.write_text("hello")
        with pytest.raises(ConfigurationError, match="is not a GGUF file"):
            local_model("", Settings(local_model=str(file)))

    def test_any_gguf_file_may_be_named(self, alone: Path, small_weights: Path) -> None:
        model = local_model("", Settings(local_model=str(small_weights)))
        assert "".join(delta.text for delta in model.open(call("Hi", 8)))

    def test_a_damaged_model_tells_the_engines_words(self, alone: Path, small_weights: Path) -> None:
        damaged = alone.parent / "damaged.gguf"
        damaged.write_bytes(small_weights.read_bytes()[:1_000_000])
        with pytest.raises(ModelUnavailable, match=r"could not load .*damaged.gguf.*Its last words.* E "):
            LocalModel(Order.of(str(damaged), Settings()), Settings()).warm()

    def test_without_the_extra_the_error_names_it(self) -> None:
        program = (
            "import sys; sys.modules['xllamacpp'] = None\n"
            "from appbuilder import Playground, Message\n"
            "try: Playground(model='local').run(Message('Hi'))\n"
            "except ValueError as error: print(error)"
        )
        told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert "pip install 'appbuilder-runtime[local]'" in told.stdout

    def test_a_start_without_progress_ends(self, alone: Path) -> None:
        mine = order()
        owner = mine.owner_lock()
        assert owner.acquire()
        try:
            with pytest.raises(ModelTimeout, match=r"no progress for 0\.3 s"):
                connect(mine, 0.3)
        finally:
            owner.release()

    def test_a_cancelled_turn_does_not_wait_for_the_model(self, alone: Path, turn: Any) -> None:
        mine = order()
        owner = mine.owner_lock()
        assert owner.acquire()
        threading.Timer(0.2, turn.cancel_token.cancel).start()
        try:
            with pytest.raises(TurnCancelled):
                connect(mine, 60)
        finally:
            owner.release()

    def test_a_stranger_on_the_old_port_is_not_believed(self, alone: Path) -> None:
        mine = order()
        with socket.create_server(("127.0.0.1", 0)) as stranger:
            thread = threading.Thread(target=answer_wrongly, args=(stranger,))
            thread.start()
            port = stranger.getsockname()[1]
            State(1, port, "secret", phase="ready", address="http://127.0.0.1:1").write(mine.state_path)
            address = connect(mine, 120)
            thread.join()
        assert address.url != "http://127.0.0.1:1"
        assert busy(address)

    def test_a_folder_others_can_read_is_refused(self, alone: Path) -> None:
        runtime_folder().chmod(0o755)
        with pytest.raises(ConfigurationError, match="only you can read"):
            runtime_folder()

    def test_bad_parameters_do_not_start_it(self, alone: Path) -> None:
        with pytest.raises(InvalidRequest):
            Playground(model=MODEL).run(Message("Hi"), temperature=3)
        assert not client._leases
