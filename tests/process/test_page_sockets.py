"""What a client may say over the page's socket, and that nothing of it does harm."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.process import page_client, rawhttp
from tests.process.page_client import Browser, Chat, PageServer, Refused
from tests.process.serving import eventually, rows

CANARY = "canary-7f3a"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    folder = tmp_path_factory.mktemp("page")
    with page_client.serve(folder, LOGLEVEL="DEBUG") as running:
        yield running


@pytest.fixture
def browser(server: PageServer) -> Browser:
    return server.browser().enter()


@pytest.fixture(autouse=True)
def still_well(server: PageServer, request: pytest.FixtureRequest) -> Iterator[None]:
    """After whatever came, others are served, and no error was logged."""
    before = len(server.log)
    yield
    with server.browser().connect() as chat:
        assert chat.ask("well?") == "well?"
    assert CANARY not in server.log
    if "packet" not in request.fixturenames:  # the libraries log those
        assert "Traceback" not in server.log[before:]


def message(**members: Any) -> dict[str, Any]:
    return {"message": {"id": str(uuid.uuid4()), "output": CANARY, **members}, "fileReferences": []}


def settled(chat: Chat) -> None:
    """All that was sent before has been handled: what is asked for after it is there."""
    assert chat.ask("settled") == "settled"


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "x",
        5,
        True,
        {},
        {"message": None},
        {"message": []},
        {"message": "x"},
        {"message": {}},
        message(id=None),
        message(id=5),
        message(id=["x"]),
        message(id="x"),
        message(id=""),
        message(id=str(uuid.uuid1())),
        message(id=str(uuid.uuid4()).upper()),
        message(id="{" + str(uuid.uuid4()) + "}"),
        message(id=str(uuid.uuid4()).replace("-", "")),
        message(id=str(uuid.uuid4()) + "\n"),
        message(output=None),
        message(output=5),
        message(output={"a": 1}),
        message(output=[CANARY]),
        message(output=True),
    ],
)
def test_what_is_no_message_is_passed_over(server: PageServer, browser: Browser, payload: Any) -> None:
    before = server.probe()["all"]
    with browser.connect() as chat:
        chat.emit("client_message", payload)
        settled(chat)
        assert server.probe()["all"] == before + 1
        assert not chat.errors()


def test_what_a_message_says_beside_its_text_is_passed_over(server: PageServer, browser: Browser) -> None:
    with browser.connect() as chat:
        for members in (
            {"type": 5},
            {"type": "assistant_message", "name": "Assistant"},
            {"parentId": "x", "metadata": 5},
            {"threadId": "another"},
            {"isError": True, "language": ["x"], "command": {"a": 1}, "modes": 7},
        ):
            assert chat.ask_with(CANARY, **members) == CANARY
        chat.emit("client_message", {**message(), "fileReferences": [{"id": "../../etc/passwd"}, 5]})
        settled(chat)
        thread = browser.thread(chat.thread_id).json
    said = [step for step in thread["steps"] if step["type"] == "user_message"]
    assert {step["name"] for step in said} == {"User"}
    assert thread["elements"] == []


def test_half_a_surrogate_pair_is_refused_in_words(server: PageServer, browser: Browser) -> None:
    before = server.probe()["all"]
    with browser.connect() as chat:
        chat.say("\ud800")
        assert "cannot be read" in chat.wait(lambda _: chat.errors())[0]
        settled(chat)
    assert server.probe()["all"] == before + 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00",
        "\x1b[31m",
        "<script>alert(1)</script>",
        "a" * 90_000,
        "王芳 🎉 \u2028",
        "'; DROP TABLE appbuilder_session_messages; --",
    ],
)
def test_any_text_is_just_a_text(browser: Browser, text: str) -> None:
    with browser.connect() as chat:
        assert chat.ask(text) == text
        steps = browser.thread(chat.thread_id).json["steps"]
    assert [step["output"] for step in steps if step["type"] == "user_message"] == [text]
    if text:
        assert [step["output"] for step in steps if step["type"] == "assistant_message"] == [text]


@pytest.mark.parametrize(
    "event",
    [
        "edit_message",
        "message_favorite",
        "fetch_favorites",
        "window_message",
        "audio_start",
        "audio_chunk",
        "audio_end",
        "chat_settings_change",
        "chat_settings_edit",
        "call_fn",
        "ask",
        "nonsense",
        "",
        "*",
        "__init__",
    ],
)
def test_events_that_are_not_used(server: PageServer, browser: Browser, event: str) -> None:
    with browser.connect() as chat:
        first = chat.say("first")
        chat.answer(first)
        before = server.probe()["all"], browser.thread(chat.thread_id).json["steps"]
        for data in ({"message": {"id": first, "output": "edited"}}, None, 5, [CANARY], {"mimeType": "x"}):
            chat.emit(event, data)
        chat.emit("connection_successful")
        assert browser.thread(chat.thread_id).json["steps"] == before[1]
        settled(chat)
        assert server.probe()["all"] == before[0] + 1


@pytest.mark.parametrize("event", ["connection_successful", "stop", "clear_session", "disconnect", "connect"])
def test_used_events_with_anything_in_them(browser: Browser, event: str) -> None:
    with browser.connect() as chat:
        for data in (
            None,
            5,
            [1, 2],
            {"sid": "x"},
            ({"HTTP_COOKIE": "access_token=x"}, {"sessionId": "x"}),
            CANARY,
        ):
            chat.emit(event, data)
        if event != "disconnect":
            settled(chat)


@pytest.mark.parametrize(
    "auth",
    [
        {"threadId": 5},
        {"threadId": ["x"]},
        {"threadId": {"a": 1}},
        {"threadId": "x" * 37},
        {"threadId": "\ud800"},
        {"threadId": "a\x00"},
        {"threadId": True},
        {"sessionId": 5},
        {"sessionId": None},
        {"sessionId": ["x"]},
        {"sessionId": ""},
        {"sessionId": "x"},
        {"sessionId": "../../x"},
        {"sessionId": "/tmp"},
        {"sessionId": "."},
        {"sessionId": str(uuid.uuid4()) + "/.."},
    ],
)
def test_what_is_no_session_is_refused(browser: Browser, auth: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        browser.connect(auth=auth)


@pytest.mark.parametrize(
    "auth", [{"clientType": 5}, {"userEnv": "{"}, {"userEnv": 5}, {"chatProfile": 5}, {"x": CANARY}]
)
def test_what_it_says_of_itself_is_passed_over(browser: Browser, auth: dict[str, Any]) -> None:
    with browser.connect(auth=auth) as chat:
        settled(chat)


def test_a_session_s_name_is_no_path(server: PageServer, browser: Browser) -> None:
    """Chainlit removes the folder of that name with the session."""
    precious = server.folder / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    up = "../" * 20
    for name in (f"{up}{precious}", f"..{precious}", str(precious)):
        with pytest.raises(Refused):
            browser.connect(auth={"sessionId": name})
    assert (precious / "file").exists()
    (precious / "file").unlink()
    precious.rmdir()


def test_a_conversation_that_is_not_there(browser: Browser) -> None:
    for thread_id in ("nothing", str(uuid.uuid4()), "../x", "' OR 1=1"):
        with browser.connect(thread_id=thread_id) as chat:
            assert chat.wait_for("resume_thread_error") == "Thread not found."
            assert chat.ask("hello") == "hello"
            assert chat.thread_id != thread_id


def test_a_message_over_the_limit_is_answered_and_a_giant_one_ends_the_socket(
    server: PageServer, browser: Browser
) -> None:
    before = server.probe()["all"]
    with browser.connect() as chat:
        chat.say("x" * 5_000_000)
        chat.wait(lambda _: len(chat.errors()) == 1)
        assert not chat.closed.is_set()
        chat.say("x" * 10_000_000)
        assert chat.closed.wait(10)
    answer = browser.request("POST", "/ws/socket.io/?EIO=4&transport=polling&sid=x", b"x" * 10_000_000)
    assert answer.status in {400, 413}
    with browser.connect(transport="polling") as chat:
        chat.say("x" * 10_000_000)
    assert server.probe()["all"] == before


def test_a_flood_of_messages_is_bounded(server: PageServer, browser: Browser) -> None:
    """Of one session some wait and the others are refused; other sessions are served meanwhile."""
    with browser.connect() as chat:
        first = chat.do("gate", mark="flood", text="first")
        asked = [chat.say(f"number {number}") for number in range(60)]
        chat.wait(lambda _: len(chat.errors()) >= 40)
        with server.visitor().connect() as other:
            assert other.ask("meanwhile") == "meanwhile"
        server.open_gate("flood")
        chat.answer(first)
        chat.wait(lambda _: len(chat.errors()) + sum(map(chat.ended, asked)) == 60, timeout=30)
        answered = [number for number, each in enumerate(asked) if chat.ended(each)]
        assert answered == list(range(len(answered))), "in the order they were asked"
        assert all("another turn" in line.lower() or "session" in line.lower() for line in chat.errors())


def test_a_flood_of_sockets(server: PageServer, browser: Browser) -> None:
    with page_client.several(browser, 40) as chats:
        for chat in chats:
            chat.emit("connection_successful")
        ids = [chat.say(f"from {number}") for number, chat in enumerate(chats)]
        for number, chat in enumerate(chats):
            assert chat.answer(ids[number]) == f"from {number}"


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"9",
        b"4",
        b"42",
        b"42[",
        b'42["client_message"',
        b"42[]",
        b'42["client_message",{"message":' + b"[" * 90_000,
        b"45-x[",
        b'451-[{"_placeholder":true,"num":0}]',
        b"40/other,{}",
        b"41",
        b"\xff\xfe",
        b"1",
        b"3",
        b"5",
        b"42" + b"9" * 5000 + b'["stop"]',
        b'43["x"]',
    ],
)
def test_packets_that_are_none(server: PageServer, browser: Browser, packet: bytes) -> None:
    """What no client library sends, over the transport that shows it best."""
    opened = browser.request("GET", "/ws/socket.io/?EIO=4&transport=polling")
    address = f"/ws/socket.io/?EIO=4&transport=polling&sid={json.loads(opened.body[1:])['sid']}"
    hello = {"sessionId": str(uuid.uuid4()), "clientType": "webapp"}
    browser.request("POST", address, b"40" + json.dumps(hello).encode(), {"Content-Type": "text/plain"})
    assert browser.request("POST", address, packet, {"Content-Type": "text/plain"}).status in {200, 400}


def test_a_sid_is_for_whom_it_was_made(server: PageServer, browser: Browser) -> None:
    """Somebody who has learnt a socket's id does not speak for its owner."""
    opened = browser.request("GET", "/ws/socket.io/?EIO=4&transport=polling")
    address = f"/ws/socket.io/?EIO=4&transport=polling&sid={json.loads(opened.body[1:])['sid']}"
    text = {"Content-Type": "text/plain"}
    hello = {"sessionId": str(uuid.uuid4()), "clientType": "webapp"}
    browser.request("POST", address, b"40" + json.dumps(hello).encode(), text)
    before = server.probe()["all"]
    said = b"42" + json.dumps(["client_message", message()]).encode()
    server.visitor().request("POST", address, said, text)
    server.visitor().request("POST", address, b'42["connection_successful"]', text)
    with server.browser().connect() as chat:
        settled(chat)
    assert server.probe()["all"] == before + 1
    browser.request("POST", address, said, text)
    eventually(lambda: server.probe()["all"] == before + 2)


def test_a_slow_component_leaves_the_page_alive(server: PageServer, browser: Browser) -> None:
    with browser.connect() as slow, server.visitor().connect() as other:
        asked = [slow.do("gate", mark="slow", text="slow")]
        slow.wait(lambda events: any(name == "new_message" for name, _ in events))
        begun = time.monotonic()
        for number in range(5):
            assert rawhttp.get(server.port, "/health").status == 200
            assert other.ask(f"{number}") == f"{number}"
        assert not slow.ended(asked[0])
        assert time.monotonic() - begun < 10
        server.open_gate("slow")
        assert slow.answer(asked[0]) == "slow"


def test_nothing_half_was_stored(server: PageServer) -> None:
    """After all of the above."""
    stored = rows(f"sqlite:///{server.folder}/chat.db", "message_key = '_appbuilder.turn'")
    assert stored
    for row in stored:
        assert len(row["session_id"]) == len(row["request_id"]) == 36
        assert row["message_value"]["state"] in {"complete", "incomplete"}
