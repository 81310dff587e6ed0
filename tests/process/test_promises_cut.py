"""P6: a stream that the client cut is kept as far as it went, and marked so."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.process import rawhttp
from tests.process.server import Server
from tests.process.serving import DOORS, appended, eventually, probe, serve

from appbuilder.testing import GatewayDouble, Reply

PIECES = [f"piece {n}, " for n in range(6)]
# A server without a finer ear learns of a cut when it writes: a comment is due that often.
QUICK = {"HEARTBEAT": "0.05", "FIRST_PIECE_WAIT": "0.1", "RETRY_BACKOFF": "0.01"}


@pytest.fixture(scope="module", params=DOORS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve("scripted", tmp_path_factory.mktemp("cut"), request.param, **QUICK) as running:
        yield running


def stored(server: Server, session: str) -> list[Any]:
    found = appended(f"sqlite:///{server.folder}/chat.db", "session_id = :s", s=session)
    return [(row["message_key"], row["message_value"]) for row in found]


def cut_after(server: Server, message: Any, session: str, pieces: int, how: str) -> None:
    """Reads *pieces* pieces of the stream and leaves."""
    with rawhttp.Client(server.port) as client:
        client.post({"message": message, "session_id": session, "stream": True})
        if pieces:
            client.head()
            events = client.events()
            assert [next(events)["result"]["answer_message"]["content"] for _ in range(pieces)] \
                == PIECES[:pieces]
        elif message["pieces"]:
            eventually(lambda: probe(server, session)["steps"])
        else:
            eventually(lambda: probe(server, session)["calls"])
        getattr(client, how)()


def history(server: Server, session: str, key: str) -> Any:
    body = {"message": {"do": "history", "key": key}, "session_id": session}
    return rawhttp.chat(server.port, body).content


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("pieces", range(len(PIECES) + 1))
def test_cut_at_every_piece(server: Server, pieces: int, how: str) -> None:
    session = f"{how}{pieces}"
    message = {"do": "say", "pieces": PIECES[:pieces], "hold": True, "mark": session}
    cut_after(server, message, session, pieces, how)
    kept = dict(eventually(lambda: stored(server, session)))
    assert kept["query"]["state"] == kept["answer"]["state"] == "incomplete"
    assert kept["answer"]["content"] == "".join(PIECES[:pieces])
    assert history(server, session, "answer") == history(server, session, "query") == []
    seen = probe(server, session)
    assert (seen["calls"], seen["closed"], seen["steps"]) == (1, 1, pieces)
    # The session is free again, and what follows is a finished turn.
    assert rawhttp.chat(server.port, {"message": "next", "session_id": session}).content == "next"
    assert history(server, session, "answer") == ["next"]


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_component_that_goes_on_is_stopped(server: Server, how: str) -> None:
    session = f"deaf-{how}"
    message = {"do": "say", "pieces": PIECES[:2] + ["more, "] * 500, "pace": 0.02, "mark": session}
    cut_after(server, message, session, 2, how)
    kept = dict(eventually(lambda: stored(server, session)))
    said = "".join(PIECES[:2]) + "more, " * 500
    assert kept["answer"]["state"] == "incomplete"
    assert said.startswith(kept["answer"]["content"])
    assert len(kept["answer"]["content"]) >= len("".join(PIECES[:2]))
    assert probe(server, session)["closed"] == 1
    assert probe(server, session)["steps"] < 400
    assert history(server, session, "answer") == []


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_blocking_request_that_is_cut_is_stored_whole_or_marked(server: Server, how: str) -> None:
    session = f"whole-{how}"
    with rawhttp.Client(server.port) as client:
        client.post({"message": {"do": "say", "pieces": PIECES, "pace": 0.02, "mark": session},
                     "session_id": session})
        eventually(lambda: probe(server, session)["steps"])
        getattr(client, how)()
    kept = dict(eventually(lambda: stored(server, session)))
    assert kept.keys() == {"query", "answer"}
    if "state" in kept["answer"]:
        assert kept["query"]["state"] == kept["answer"]["state"] == "incomplete"
        assert history(server, session, "answer") == []
    else:
        assert history(server, session, "answer") == ["".join(PIECES)]
    assert probe(server, session)["closed"] == 1


def test_a_whole_stream_is_closed_once_too(server: Server) -> None:
    events = rawhttp.stream(server.port, {"message": {"do": "say", "pieces": PIECES, "mark": "read"}})
    assert rawhttp.text_of(events) == "".join(PIECES)
    assert probe(server, "read")["closed"] == 1


@pytest.mark.parametrize("worker", DOORS)
def test_continue_finishes_the_turn(tmp_path: Path, worker: str) -> None:
    with serve("scripted", tmp_path, worker, ON_DISCONNECT="continue", **QUICK) as server:
        for how in ("fin", "rst"):
            message = {"do": "say", "pieces": PIECES, "pace": 0.05, "mark": how}
            cut_after(server, message, how, 1, how)
            kept = dict(eventually(partial(stored, server, how)))
            assert "state" not in kept["answer"]
            assert kept["answer"]["content"] == "".join(PIECES)
            assert history(server, how, "answer") == ["".join(PIECES)]
            assert probe(server, how)["closed"] == 1


@pytest.mark.parametrize("worker", DOORS)
def test_the_model_s_connection_is_closed(tmp_path: Path, worker: str) -> None:
    with GatewayDouble() as gateway:
        env = {"GATEWAY_URL": gateway.address, "TOKEN": "the-token", **QUICK}
        with serve("model", tmp_path, worker, **env) as server:
            for number, how in enumerate(("fin", "rst")):
                gateway.reply(Reply(pieces=PIECES, silent_after=2))
                with rawhttp.Client(server.port) as client:
                    client.post({"message": "q", "session_id": how, "stream": True})
                    client.head()
                    events = client.events()
                    assert next(events)["result"]["answer_message"]["content"] == PIECES[0]
                    assert next(events)["result"]["answer_message"]["content"] == PIECES[1]
                    getattr(client, how)()
                gateway.wait_for_left(number + 1)
                kept = dict(eventually(partial(stored, server, how)))
                assert kept["answer"]["state"] == "incomplete"
                assert kept["answer"]["content"] == "".join(PIECES[:2])
            assert rawhttp.chat(server.port, {"message": "after"}).content == "after"
