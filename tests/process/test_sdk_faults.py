"""What the released SDK does wrong and this package sets right, each as a regression test over HTTP."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.process import rawhttp
from tests.process.server import Server
from tests.process.serving import rows, serve

from appbuilder.testing import GatewayDouble

SDK_DATA = Path(__file__).parents[1] / "store" / "data"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve("scripted", tmp_path_factory.mktemp("faults")) as running:
        yield running


def database(server: Server) -> str:
    return f"sqlite:///{server.folder}/chat.db"


def test_a_component_needs_no_token_to_be_made(server: Server) -> None:
    """``super().__init__()`` without any token in the environment: the fixture would not start."""
    assert rawhttp.chat(server.port, {"message": "hello"}).content == "hello"


def test_every_message_has_an_id_of_its_own(server: Server) -> None:
    answers = [rawhttp.chat(server.port, {"message": "x", "session_id": "ids"}) for _ in range(3)]
    stored = [row["message_value"]["id"] for row in rows(database(server), "session_id = 'ids'")]
    assert len(set(stored)) == 6
    assert {answer.result["answer_message"]["id"] for answer in answers} <= set(stored)


def test_the_type_of_streamed_text_is_str(server: Server) -> None:
    body = {"message": {"do": "say", "pieces": ["a"]}, "session_id": "types"}
    events = rawhttp.stream(server.port, body)
    assert {event["result"]["answer_message"]["mtype"] for event in events} == {"str"}
    stored = rows(database(server), "session_id = 'types' AND message_key = 'answer'")
    assert stored[0]["message_value"]["mtype"] == "str"


def test_history_gives_contents_not_dumps(server: Server) -> None:
    for text in ("one", "two"):
        rawhttp.chat(server.port, {"message": text, "session_id": "contents"})
    body = {"message": {"do": "history", "key": "answer"}, "session_id": "contents"}
    assert rawhttp.chat(server.port, body).content == ["one", "two"]


def test_a_session_named_local_is_stored_too(server: Server) -> None:
    rawhttp.chat(server.port, {"message": "x", "session_id": "LOCAL-1"})
    assert len(rows(database(server), "session_id = 'LOCAL-1'")) == 2


def test_resetting_the_singleton_is_harmless(server: Server) -> None:
    rawhttp.chat(server.port, {"message": "before", "session_id": "spoil"})
    body = {"message": {"do": "spoil", "text": "reset"}, "session_id": "spoil"}
    assert rawhttp.chat(server.port, body).content == "reset"
    body = {"message": {"do": "history", "key": "answer"}, "session_id": "spoil"}
    assert rawhttp.chat(server.port, body).content == ["before", "reset"]


def test_only_the_contract_s_table_is_made(server: Server) -> None:
    with sqlite3.connect(f"{server.folder}/chat.db") as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    connection.close()
    assert names == [("appbuilder_session_messages",)]


def test_two_runtimes_with_two_databases(tmp_path: Path) -> None:
    with serve("two", tmp_path) as server:
        for name in ("one", "two"):
            with rawhttp.Client(server.port) as client:
                client.post({"message": name, "session_id": "same"}, path=f"/{name}/chat")
                assert client.answer().content == []
        for name in ("one", "two"):
            with rawhttp.Client(server.port) as client:
                client.post({"message": name, "session_id": "same"}, path=f"/{name}/chat")
                assert client.answer().content == [name]
            stored = rows(f"sqlite:///{tmp_path}/{name}.db")
            assert [row["message_value"]["content"] for row in stored] == [name, name]


@pytest.mark.parametrize("name", ["sdk-shanghai", "sdk-utc"])
def test_an_old_database_goes_on(tmp_path: Path, name: str) -> None:
    """Local naive times of another zone, hours ahead of ours: what is new comes after what is old."""
    shutil.copy(SDK_DATA / f"{name}.db", tmp_path / "chat.db")
    where = f"sqlite:///{tmp_path}/chat.db"
    old = rows(where)
    session, key = old[-1]["session_id"], old[-1]["message_key"]
    # As if the SDK had written it a moment ago, eight hours east of here.
    with sqlite3.connect(tmp_path / "chat.db") as connection:
        connection.execute("UPDATE appbuilder_session_messages SET created_at = "
                           "strftime('%Y-%m-%d %H:%M:%f', 'now', '+8 hours') || '000', updated_at = "
                           "strftime('%Y-%m-%d %H:%M:%f', 'now', '+8 hours') || '000' WHERE id = ?",
                           (old[-1]["id"],))
    connection.close()
    ask = {"message": {"do": "history", "key": key}, "session_id": session}
    with serve("scripted", tmp_path) as server:
        before = rawhttp.chat(server.port, ask).content
        assert old[-1]["message_value"]["content"] in before
        for text in ("first", "second"):
            rawhttp.chat(server.port, {"message": {"do": "echo", "text": text}, "session_id": session})
        after = rawhttp.chat(server.port, {**ask, "message": {"do": "history", "key": "answer"}}).content
    assert after[-2:] == ["first", "second"]
    new = [row["id"] for row in rows(where, "session_id = :s", s=session)][-4:]
    assert not set(new) & {row["id"] for row in old}
    with sqlite3.connect(tmp_path / "chat.db") as connection:
        by_update = connection.execute("SELECT id FROM appbuilder_session_messages WHERE session_id = ? "
                                       "ORDER BY updated_at", (session,)).fetchall()
    connection.close()
    assert [row_id for (row_id,) in by_update][-4:] == new


def test_one_user_s_token_is_never_used_for_another(tmp_path: Path) -> None:
    with GatewayDouble() as gateway, serve("model", tmp_path, GATEWAY_URL=gateway.address) as server:
        for name in "ABAABA":
            answer = rawhttp.chat(server.port, {"message": name}, {"X-Appbuilder-Token": f"token-{name}"})
            assert answer.content == name
        sent = [(call.body["query"], call.headers["x-appbuilder-authorization"]) for call in gateway.calls]
    assert sent == [(name, f"Bearer token-{name}") for name in "ABAABA"]


@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_true_statuses_and_no_traceback(server: Server, stream: bool) -> None:
    """The SDK sends most of these with 200, and takes an exception's ``code`` for a status."""
    cases = [({"do": "fail", "kind": "OSError"}, 500), ({"do": "fail", "kind": "code200"}, 500)]
    for message, status in cases:
        answer = rawhttp.chat(server.port, {"message": message, "stream": stream})
        assert (answer.status, answer.json["code"]) == (status, status)
        assert b"Traceback" not in answer.body
