"""An application behind real servers: nobody has another's conversation, whatever dies on the way."""

from __future__ import annotations

import json
import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.process import rawhttp
from tests.process.server import Server
from tests.process.serving import BOTH, eventually, free_port, rows, serve

from appbuilder import clock
from appbuilder.components.app_client.schemas import Action
from appbuilder.testing import AppDouble, AppReply

TOKEN = "bce-v3/ALTAK-the-server's-own"
QUICK = {"HEARTBEAT": "0.05", "FIRST_PIECE_WAIT": "0.1", "RETRY_BACKOFF": "0.01", "LOGLEVEL": "DEBUG"}
PROMPTLY = 1.0
"""Seconds in which a cut reaches the service."""
BOUND = 10.0
"""Seconds in which a failure is told, with the time-outs of these tests; ours is under two."""


@pytest.fixture
def double() -> Iterator[AppDouble]:
    with AppDouble() as made:
        yield made


def begin(folder: Path, double: AppDouble, worker: str = "gthread", **given: str) -> Server:
    env = {"GATEWAY_URL_V2": double.address, "TOKEN": TOKEN, **QUICK, **given}
    return serve("application", folder, worker, **env)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, AppDouble]]:
    """A server that the tests share, and its service."""
    with AppDouble() as double, begin(tmp_path_factory.mktemp("app"), double) as server:
        yield server, double


@pytest.fixture
def shared(running: tuple[Server, AppDouble]) -> tuple[Server, AppDouble]:
    """The shared server; its service has forgotten what it was asked before."""
    _, double = running
    double.requests.clear()
    double.conversations.clear()
    double.left = 0
    return running


def say(server: Server, words: str, session: str, *, stream: bool = False, headers: Any = ()) -> str:
    """A turn; the answer's text."""
    body = {"message": words, "session_id": session}
    if stream:
        return rawhttp.text_of(rawhttp.stream(server.port, body, headers, timeout=60))
    return str(rawhttp.chat(server.port, body, headers, timeout=60).content)


def queries(double: AppDouble) -> list[list[str]]:
    return [one.queries for one in double.conversations.values()]


# Nobody has another's conversation


@pytest.mark.parametrize("worker", BOTH)
def test_many_sessions_at_once_each_has_its_own_conversation_and_token(
    tmp_path: Path, worker: str, double: AppDouble
) -> None:
    sessions = {str(uuid4()): f"bce-v3/ALTAK-{uuid4().hex}" for _ in range(24)}
    turns = [(session, f"{session}:{number}:{uuid4().hex}") for session in sessions for number in range(4)]
    random.Random(4).shuffle(turns)
    env = {"GATEWAY_URL_V2": double.address, **QUICK}
    with serve("application", tmp_path, worker, **env) as server, ThreadPoolExecutor(24) as pool:

        def turn(number: int) -> str:
            session, words = turns[number]
            headers = {"X-Appbuilder-Token": sessions[session], "X-Appbuilder-User-Id": f"user-{session}"}
            return say(server, words, session, stream=number % 2 == 0, headers=headers)

        answers = list(pool.map(turn, range(len(turns))))
        log = server.log
    assert answers == [words for _, words in turns]
    asked: dict[str, set[str]] = defaultdict(set)
    for session, words in turns:
        asked[session].add(words)
    assert sorted(map(sorted, queries(double))) == sorted(map(sorted, asked.values()))
    for run in double.runs:
        session = run.body["query"].partition(":")[0]
        assert run.headers["authorization"] == f"Bearer {sessions[session]}"
        assert run.body["end_user_id"] == f"user-{session}"
    begun = [each for each in double.requests if each.path == "/v2/app/conversation"]
    assert sorted(each.headers["authorization"] for each in begun) \
        == sorted(f"Bearer {token}" for token in sessions.values())
    assert not [secret for pair in sessions.items() for secret in pair if secret in log]
    assert not [words for _, words in turns if words in log]


def test_first_turns_of_one_session_at_once_begin_one_conversation(shared: tuple[Server, AppDouble]) -> None:
    server, double = shared
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda words: say(server, words, "one"), "abcdefgh"))
    assert answers == list("abcdefgh")
    [asked] = queries(double)
    assert sorted(asked) == list("abcdefgh")


# What dies on the way


def test_a_conversation_and_its_question_outlive_the_server(tmp_path: Path, double: AppDouble) -> None:
    with begin(tmp_path, double) as server:
        say(server, "一", "s")
        double.reply(AppReply(asks="哪座城市？"))
        assert say(server, "天气", "s", stream=True) == "哪座城市？"
        assert server.terminate() == 0
    with begin(tmp_path, double) as server:
        assert say(server, "北京", "s") == "北京"
        assert say(server, "四", "s") == "四"
    assert queries(double) == [["一", "天气", "北京", "四"]]
    resume = Action.create_resume_action("question-1")
    assert [run.body["action"] for run in double.runs] == [None, None, resume, None]


def test_kill_9_in_a_turn_loses_that_turn_alone(tmp_path: Path, double: AppDouble) -> None:
    with begin(tmp_path, double) as server:
        say(server, "before", "old")
        double.reply(*[AppReply(pieces=["half", "whole"], silent_after=2)] * 2)
        with rawhttp.Client(server.port) as new, rawhttp.Client(server.port) as old:
            for client, session in ((new, "new"), (old, "old")):
                client.post({"message": f"lost {session}", "session_id": session, "stream": True})
                client.head()
                assert next(client.events())["result"]["answer_message"]["content"] == "half"
            server.kill()
    with begin(tmp_path, double) as server:
        for session in ("new", "old"):
            assert say(server, f"after {session}", session) == f"after {session}"
    assert sorted(queries(double)) == [["after new"], ["before", "lost old", "after old"], ["lost new"]]


def test_acknowledged_conversations_survive_kill_9(tmp_path: Path, double: AppDouble) -> None:
    """Eight clients, a kill while they talk: whoever has an answer goes on in the conversation he had."""
    known: dict[str, str] = {}

    def talk(server: Server, session: str) -> None:
        for number in range(200):
            try:
                said = rawhttp.chat(server.port, {"message": f"{session}/{number}", "session_id": session})
                known[session] = said.result["answer_message"]["extra"]["conversation_id"]
            except (OSError, HTTPException):
                return

    with begin(tmp_path, double) as server, ThreadPoolExecutor(8) as pool:
        talks = [pool.submit(talk, server, f"s{number}") for number in range(8)]
        eventually(lambda: len(known) >= 4)
        server.kill()
        for each in talks:
            each.result()
    acknowledged = dict(known)
    assert len(acknowledged) >= 4
    with begin(tmp_path, double) as server:
        for session, conversation in acknowledged.items():
            said = rawhttp.chat(server.port, {"message": f"{session}/on", "session_id": session})
            assert said.result["answer_message"]["extra"]["conversation_id"] == conversation
    for asked in queries(double):
        assert len({words.partition("/")[0] for words in asked}) <= 1


# A client that leaves


def leave(server: Server, double: AppDouble, how: str, silent_after: int) -> None:
    """A client leaves a stream; the read of the service ends with it, and the conversation goes on."""
    session = str(uuid4())
    before = len(double.requests)
    double.reply(AppReply(pieces=["half", "whole"], silent_after=silent_after))
    with rawhttp.Client(server.port) as client:
        client.post({"message": "q", "session_id": session, "stream": True})
        double.wait_for_requests(before + 2)
        if silent_after == 2:
            client.head()
            assert next(client.events())["result"]["answer_message"]["content"] == "half"
        left_before = double.left
        getattr(client, how)()
        left = clock.monotonic()
        double.wait_for_left(left_before + 1)
        assert clock.monotonic() - left < PROMPTLY
    database = f"sqlite:///{server.folder}/chat.db"
    [row] = eventually(lambda: rows(database, "session_id = :s", s=session))
    conversation = next(reversed(double.conversations))
    assert row["message_value"]["content"] == {"app_id": "app-1", "conversation_id": conversation}
    assert "state" not in row["message_value"]
    assert say(server, "on", session) == "on"
    assert double.conversations[conversation].queries == ["q", "on"]


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("silent_after", [0, 1, 2])  # before anything; after the status; after a text
def test_a_client_that_leaves_ends_the_read_of_the_service(
    shared: tuple[Server, AppDouble], how: str, silent_after: int
) -> None:
    leave(*shared, how, silent_after)


def test_greenlets_end_and_fail_as_threads_do(tmp_path: Path, double: AppDouble) -> None:
    with begin(tmp_path, double, "gevent", MODEL_TIMEOUT="1") as server:
        for silent_after in (0, 1, 2):
            leave(server, double, "fin", silent_after)
        for fault in ("silent", "500", "cut"):
            reply, expected = FAULTS[fault]
            double.reply(made_of(reply, ""))
            assert rawhttp.chat(server.port, {"message": "q"}, timeout=30).status == expected
        double.reply(AppReply(pieces=["half", "whole"], cut_after=2))
        events = rawhttp.stream(server.port, {"message": "q"}, timeout=30)
        assert [event["code"] for event in events] == [0, 502]
        check_that_a_slow_user_stops_nobody(server, double)


# A service that fails

FAULTS: dict[str, tuple[AppReply, int]] = {
    "silent": (AppReply(hang=True), 504),
    "400": (AppReply(status=400, error=("InvalidArgument", "nothing of {words}")), 502),
    "401": (AppReply(status=401, error=("InvalidToken", "no {token}")), 502),
    "429": (AppReply(status=429, headers={"Retry-After": "7"}), 429),
    "500": (AppReply(status=500, error=("InternalError", "at {words} with {token}")), 502),
    "503": (AppReply(status=503), 502),
    "504": (AppReply(status=504), 504),
    "cut": (AppReply(cut_after=0), 502),
    "no JSON": (AppReply(raw=b"<html>"), 502),
    "an error in the answer": (AppReply(raw=b'{"code": "X", "message": "bad", "requestId": "r"}'), 502),
}


def made_of(reply: AppReply, words: str) -> AppReply:
    code, text = reply.error
    return AppReply(**{**vars(reply), "error": (code, text.format(words=words, token=TOKEN))})


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, AppDouble]]:
    """A server whose time-out is short, and its service."""
    folder = tmp_path_factory.mktemp("failing")
    with AppDouble() as double, begin(folder, double, MODEL_TIMEOUT="1") as server:
        yield server, double


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("place", ["conversation", "run"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_service_that_fails_is_told_with_its_true_status(
    failing: tuple[Server, AppDouble], fault: str, place: str, stream: bool
) -> None:
    server, double = failing
    reply, expected = FAULTS[fault]
    words = f"words-{uuid4().hex}"
    if reply.raw is not None and place == "run" and stream:
        reply = AppReply(raw=b"data: " + reply.raw + b"\n\n")
    if fault == "cut" and place == "conversation":
        reply = AppReply(raw=b"")
    # To begin a conversation the service is not told the words, and cannot repeat them.
    double.reply(made_of(reply, words if place == "run" else ""), to=place)
    runs = len(double.runs)
    began = clock.monotonic()
    session = str(uuid4())
    with rawhttp.Client(server.port, timeout=30) as client:
        body = {"message": words, "session_id": session, "stream": stream}
        answer = client.chat(body, {"X-Appbuilder-Token": TOKEN})
    assert clock.monotonic() - began < BOUND
    told = answer.json if answer.header("content-type") == "application/json" else last_event(answer)
    assert told["code"] == expected, answer.body
    if not stream or fault != "silent":  # a silent one has its stream begun before the time is over
        assert answer.status == expected
    if expected == 429:
        assert answer.header("Retry-After") == "7"
    assert len(double.runs) - runs == (place == "run")
    for secret in (words, TOKEN, "double", "InternalError", "InvalidToken"):
        assert secret not in answer.body.decode()
    assert words not in server.log
    assert TOKEN not in server.log
    assert say(server, "after", session, stream=stream) == "after"


def last_event(answer: rawhttp.Answer) -> Any:
    """The last event of a stream that was read whole."""
    events = [block for block in answer.body.decode().split("\n\n") if block.startswith("data: ")]
    assert len(events) == 1, events
    return json.loads(events[0][6:])


@pytest.mark.parametrize("fault", [AppReply(cut_after=2), AppReply(error_after=2), AppReply(silent_after=2),
                                   AppReply(unfinished=True)])
def test_a_stream_cut_short_ends_with_an_error_event(
    failing: tuple[Server, AppDouble], fault: AppReply
) -> None:
    server, double = failing
    double.reply(AppReply(**{**vars(fault), "pieces": ["half"] if fault.unfinished else ["half", "whole"]}))
    session, runs = str(uuid4()), len(double.runs)
    events = rawhttp.stream(server.port, {"message": "q", "session_id": session}, timeout=30)
    assert [event["code"] for event in events] == [0, 504 if fault.silent_after else 502]
    assert len(double.runs) == runs + 1
    assert say(server, "after", session) == "after"


def test_a_slow_answer_is_an_answer(failing: tuple[Server, AppDouble]) -> None:
    server, double = failing
    double.reply(AppReply(pieces=list("slowly"), pace=0.4))  # each within the time-out, all of them not
    assert say(server, "q", str(uuid4()), stream=True) == "slowly"


def test_a_caller_whose_token_is_refused_gets_401(tmp_path: Path) -> None:
    with AppDouble(tokens=["good"]) as double:
        env = {"GATEWAY_URL_V2": double.address, **QUICK}
        with serve("application", tmp_path, **env) as server:
            for headers, status in (({}, 401), ({"X-Appbuilder-Token": "bad-canary"}, 401),
                                    ({"X-Appbuilder-Token": "good"}, 200)):
                assert rawhttp.chat(server.port, {"message": "q"}, headers).status == status
            assert "bad-canary" not in server.log


def test_a_service_that_is_down(tmp_path: Path) -> None:
    env = {"GATEWAY_URL_V2": f"http://127.0.0.1:{free_port()}", "TOKEN": TOKEN, **QUICK}
    with serve("application", tmp_path, **env) as server:
        for stream in (False, True):
            began = clock.monotonic()
            answer = rawhttp.chat(server.port, {"message": "words-q", "stream": stream})
            assert (answer.status, answer.json["code"]) == (502, 502)
            assert clock.monotonic() - began < BOUND
        assert "words-q" not in server.log


def test_a_slow_user_stops_nobody(shared: tuple[Server, AppDouble]) -> None:
    check_that_a_slow_user_stops_nobody(*shared)


def check_that_a_slow_user_stops_nobody(server: Server, double: AppDouble) -> None:
    gate, before = threading.Event(), len(double.requests)
    double.reply(AppReply(pieces=["slow"], gates={1: gate}))
    with rawhttp.Client(server.port) as client:
        client.post({"message": "q", "session_id": "slow"})
        double.wait_for_requests(before + 2)
        assert say(server, "quick", "other") == "quick"
        gate.set()
        assert client.answer().content == "slow"
