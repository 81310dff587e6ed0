"""The same promises for asynchronous components: all turns on one loop, under threads and under gevent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.process import rawhttp
from tests.process.server import Server
from tests.process.serving import DOORS, appended, eventually, probe, serve

PIECES = ["a", "b", "c"]


@pytest.fixture(scope="module", params=DOORS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve("asynchronous", tmp_path_factory.mktemp("async"), request.param, "--preload", HEARTBEAT="0.05",
               FIRST_PIECE_WAIT="0.3", RETRY_BACKOFF="0.01") as running:
        yield running


def stored(server: Server, session: str) -> dict[str, dict[str, object]]:
    found = appended(f"sqlite:///{server.folder}/chat.db", "session_id = :s", s=session)
    return {row["message_key"]: row["message_value"] for row in found}


@pytest.mark.parametrize("stream", [False, True])
def test_turns_wait_beside_each_other(server: Server, stream: bool) -> None:
    """Forty turns that wait 0.6 s each, at once."""
    def turn(number: int) -> str:
        body = {"message": {"pieces": PIECES, "pace": 0.2, "mark": f"w{number}"}}
        if stream:
            return rawhttp.text_of(rawhttp.stream(server.port, body))
        return str(rawhttp.chat(server.port, body).content)

    begun = time.monotonic()
    with ThreadPoolExecutor(40) as pool:
        assert list(pool.map(turn, range(40))) == ["abc"] * 40
    assert time.monotonic() - begun < 6


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_a_cut_stream_is_kept_and_marked(server: Server, pieces: int, how: str) -> None:
    session = f"{how}{pieces}"
    with rawhttp.Client(server.port) as client:
        client.post({"message": {"pieces": PIECES[:pieces], "hold": True, "mark": session},
                     "session_id": session, "stream": True})
        eventually(lambda: probe(server, session)["calls"])
        if pieces:
            client.head()
            events = client.events()
            for _ in range(pieces):
                next(events)
        getattr(client, how)()
    kept = eventually(lambda: stored(server, session))
    assert kept["query"]["state"] == kept["answer"]["state"] == "incomplete"
    assert kept["answer"]["content"] == "".join(PIECES[:pieces])
    assert (probe(server, session)["calls"], probe(server, session)["closed"]) == (1, 1)


@pytest.mark.parametrize("stream", [False, True])
def test_an_attempt_that_failed_is_tried_again(server: Server, stream: bool) -> None:
    mark = f"again-{stream}"
    body = {"message": {"pieces": [], "fail": 2, "mark": mark}, "session_id": mark, "stream": stream}
    assert rawhttp.chat(server.port, body).status == 200
    assert probe(server, mark)["calls"] == 3
    assert stored(server, mark)["query"]["content"] == mark


def test_an_error_within_the_stream_is_its_last_event(server: Server) -> None:
    *pieces, last = rawhttp.stream(server.port, {"message": {"pieces": PIECES, "fail": 9, "mark": "late"}})
    assert [event["result"]["answer_message"]["content"] for event in pieces] == PIECES
    assert (last["code"], last["result"]) == (500, None)
    assert "secret" not in last["message"]
