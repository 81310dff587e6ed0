"""How a page starts and ends: killed, told to stop, beside others, with a database that goes away."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from tests.process import page_client, rawhttp
from tests.process.page_client import Browser, Chat, PageServer, Refused
from tests.process.server import start_program
from tests.process.serving import eventually, free_port, rows, settings
from tests.services.servers import PostgresServer

KILLS, CLIENTS = 4, 8
TURN_KEYS = {"query": 1, "answer": 1, "_appbuilder.turn": 1}


def stored(server: PageServer, where: str = "1 = 1") -> list[Any]:
    return rows(f"sqlite:///{server.folder}/chat.db", where)


# kill -9


def talk(browser: Browser, acknowledged: set[str], stop: threading.Event) -> None:
    """A client: turn after turn, until the server is gone."""
    gone = contextlib.suppress(AssertionError, Refused, RuntimeError, OSError, TimeoutError)
    with gone, browser.connect() as chat:
        while not stop.is_set():
            asked = chat.do("say", pieces=["a", "b", "c"], mark="m", pace=0.002)
            chat.answer(asked, timeout=10)
            acknowledged.add(asked)


def check_turns(server: PageServer, acknowledged: set[str]) -> None:
    """What was acknowledged is stored; no turn is stored by half, none unlisted."""
    turns: defaultdict[str, Counter[str]] = defaultdict(Counter)
    sessions, listed = set(), set()
    for row in stored(server):
        if row["message_key"].startswith("_appbuilder.session."):
            listed.add(row["session_id"])
            continue
        turns[row["request_id"]][row["message_key"]] += 1
        sessions.add(row["session_id"])
        if row["message_key"] == "_appbuilder.turn":
            assert row["message_value"]["state"] == "complete"
            assert row["message_value"]["answer"]["content"] == "abc"
    assert acknowledged <= turns.keys()
    assert [keys for keys in turns.values() if keys != TURN_KEYS] == []
    assert sessions == listed


def test_kill_9_under_load(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    for _ in range(KILLS):
        with page_client.serve(tmp_path) as server:
            stop, before = threading.Event(), len(acknowledged)
            threads = [
                threading.Thread(target=talk, args=(server.browser(), acknowledged, stop))
                for _ in range(CLIENTS)
            ]
            for thread in threads:
                thread.start()
            eventually(lambda: len(acknowledged) > before + CLIENTS)  # noqa: B023 - it is called here
            time.sleep(random.uniform(0, 0.2))
            server.kill()
            stop.set()
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive()
            check_turns(server, acknowledged)
    assert len(acknowledged) > KILLS * CLIENTS
    with page_client.serve(tmp_path) as server:
        shown = server.browser().threads()
        assert shown
        for each in shown:
            steps = server.browser().thread(each["id"]).json["steps"]
            assert [step["output"] for step in steps if step["type"] == "assistant_message"] == ["abc"] * (
                len(steps) // 3
            )
    left = {path.name for path in (tmp_path / "cache" / "appbuilder").iterdir()}
    assert len(left) == 1, "what killed pages left is swept by the next"


# Told to stop


@pytest.mark.parametrize("how", ["SIGTERM", "Ctrl-C"])
def test_running_turns_finish_when_it_is_told_to_stop(tmp_path: Path, how: str) -> None:
    with page_client.serve(tmp_path) as server:
        browser = server.browser()
        with browser.connect() as chat:
            asked = chat.do("say", pieces=["a"] * 10, mark="m", pace=0.1)
            chat.wait(lambda events: any(name == "stream_start" for name, _ in events))
            if how == "SIGTERM":
                server.signal(signal.SIGTERM)
            else:
                server.interrupt()
            assert chat.answer(asked) == "a" * 10
        assert server.wait() == (-signal.SIGTERM if how == "SIGTERM" else 0)
        assert "Traceback" not in server.log
    turn = stored(server, "message_key = '_appbuilder.turn'")[0]["message_value"]
    assert (turn["state"], turn["answer"]["content"]) == ("complete", "a" * 10)
    assert not list((tmp_path / "cache" / "appbuilder").iterdir())


def _until_ended_or_refused(chat: Chat, message_id: str) -> None:
    chat.wait(lambda _: bool(chat.errors()) or chat.ended(message_id))


def test_what_does_not_finish_is_marked(tmp_path: Path) -> None:
    with page_client.serve(tmp_path, DRAIN_TIMEOUT="1") as server:
        browser = server.browser()
        with browser.connect() as chat:
            deaf = chat.do("say", pieces=["a"], mark="m", hold=True, deaf=True)
            chat.wait(lambda _: chat.text(deaf) == "a")
            begun = time.monotonic()
            server.signal(signal.SIGTERM)
            with server.browser().connect() as other:
                while not other.errors():  # the process may not have seen the signal yet
                    _until_ended_or_refused(other, other.say("too late"))
                assert "shutting down" in other.errors()[0]
            assert chat.answer(deaf)
        server.wait()
        assert time.monotonic() - begun < 15
    states = [row["message_value"]["state"] for row in stored(server, "message_key = '_appbuilder.turn'")]
    assert [state for state in states if state != "complete"] == ["incomplete"]


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    with page_client.serve(tmp_path) as server, server.browser().connect() as chat:
        asked = chat.do("say", pieces=["a"], mark="m", hold=True)
        chat.wait(lambda _: chat.text(asked) == "a")
        server.interrupt()
        eventually(lambda: "interrupt again" in server.log)
        server.interrupt()
        server.wait(15)
        assert "Traceback" not in server.log
    assert stored(server, "message_key = '_appbuilder.turn'")[0]["message_value"]["state"] == "incomplete"


def test_a_stopped_turn_is_kept_as_far_as_it_went(tmp_path: Path) -> None:
    with page_client.serve(tmp_path) as server, server.browser().connect() as chat:
        asked = chat.do("say", pieces=["a", "b"], mark="stopped", hold=True)
        chat.wait(lambda _: chat.text(asked) == "ab")
        chat.emit("stop")
        assert chat.answer(asked, timeout=5).startswith("ab\n\n")
        assert server.probe("stopped")["closed"] == 1
        live = chat.text(asked)
        steps = server.browser().thread(chat.thread_id).json["steps"]
    assert [step["output"] for step in steps if step["type"] == "assistant_message"] == [live]


def test_who_closes_the_page_finds_the_answer(tmp_path: Path) -> None:
    with page_client.serve(tmp_path) as server:
        browser = server.browser()
        with browser.connect() as chat:
            asked = chat.do("gate", mark="left", text="the answer")
            thread = chat.thread_id
            eventually(lambda: server.probe("left")["calls"] == 1)
        with browser.connect(thread_id=thread) as back:
            back.wait(
                lambda events: any(name == "new_message" and step["id"] == asked for name, step in events)
            )
            server.open_gate("left")
            assert back.answer(asked) == "the answer"
        assert [step["output"] for step in browser.thread(thread).json["steps"]][-1] == "the answer"


# Beside others


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    with page_client.serve(tmp_path) as server:
        second = page_client.serve(tmp_path, port=server.port, ready=None)
        assert second.wait() == 1
        assert f"Port {server.port} is in use by another program" in second.log.splitlines()[-1]
        assert server.request("GET", "/health").status == 200


def test_two_pages_in_two_processes(tmp_path: Path) -> None:
    """With one cache, one state folder and one database."""
    with page_client.serve(tmp_path) as one, page_client.serve(tmp_path) as two:
        visitor = one.visitor()
        with visitor.connect() as chat:
            assert chat.answer(chat.do("remember", text="one")) == "one"
            thread = chat.thread_id
        elsewhere = Browser(two.port, page_client.FOREIGN_HOST)
        elsewhere.cookies = dict(visitor.cookies)
        with elsewhere.connect(thread_id=thread) as chat:
            assert chat.answer(chat.do("remember", text="two")) == "one two"
        one.kill()
        with elsewhere.connect(thread_id=thread) as chat:
            assert chat.answer(chat.do("remember", text="three")) == "one two three"


ONE_AFTER_THE_OTHER = """
import os, signal, sys, threading
from appbuilder import ChainlitRuntime
from appbuilder.errors import ConfigurationError
sys.path.insert(0, os.environ["PYTHONPATH"].split(":")[0])
from tests.process.apps.page import Texted

port = int(os.environ["PORT"])

def another():
    try:
        ChainlitRuntime(Texted(), "sqlite:///second.db").chainlit_component(host="127.0.0.1", port=port + 1)
    except ConfigurationError as error:
        print("refused:", error, flush=True)
    os.kill(os.getpid(), signal.SIGINT)

class First(Texted):
    def run(self, message, stream=False, flavour=""):
        if message.content == "another":
            threading.Thread(target=another).start()
        return super().run(message, stream, flavour)

ChainlitRuntime(First(), "sqlite:///first.db").chainlit_component(host="127.0.0.1", port=port)
print("the first has ended", flush=True)
ChainlitRuntime(Texted(), "sqlite:///second.db").chainlit_component(host="127.0.0.1", port=port)
print("the second has ended", flush=True)
"""


def page_program(folder: Path, source: str, **env: str) -> PageServer:
    """A program of its own that serves a page."""
    own = {
        "XDG_STATE_HOME": f"{folder}/state",
        "XDG_CACHE_HOME": f"{folder}/cache",
        **settings(folder),
        **env,
    }
    started = start_program(folder, source, env=own, port=free_port())
    return PageServer(started.process, started.port, folder, started._log)


def test_one_page_a_process_one_after_the_other(tmp_path: Path) -> None:
    with page_program(tmp_path, ONE_AFTER_THE_OTHER) as server:
        with server.browser().connect() as chat:
            chat.say("another")
            eventually(lambda: "the first has ended" in server.log)
        assert "refused: A process serves one chat page" in server.log
        server.wait_ready()
        browser = server.browser()
        assert browser.request("GET", "/user").status == 200
        assert browser.threads() == [], "of another database"
        with browser.connect() as chat:
            assert chat.ask("hello") == "hello"
        assert [each["name"] for each in browser.threads()] == ["hello"]
        server.interrupt()
        assert server.wait() == 0
        assert "the second has ended" in server.log
        assert "Traceback" not in server.log


BOTH_DOORS = """
import os, sys, threading
from appbuilder import AgentRuntime
sys.path.insert(0, os.environ["PYTHONPATH"].split(":")[0])
from tests.process.apps.page import Texted, probe

class Both(Texted):
    def run(self, message, stream=False, flavour=""):
        return super().run(message, stream, flavour)

probe()
agent = AgentRuntime(component=Both(), user_session_config="sqlite:///chat.db")
api = {"host": "127.0.0.1", "port": int(os.environ["API"]), "debug": False}
threading.Thread(target=agent.serve, kwargs=api, daemon=True).start()
agent.chainlit_demo(host="127.0.0.1", port=int(os.environ["PORT"]))
print("ended", flush=True)
"""


def test_two_doors_of_one_agent(tmp_path: Path) -> None:
    """One turn per session at a time, whichever door it came through."""
    port = free_port()
    api = port + 1
    probe = port + 2
    own = {"XDG_STATE_HOME": f"{tmp_path}/state", "XDG_CACHE_HOME": f"{tmp_path}/cache", **settings(tmp_path)}
    started = start_program(
        tmp_path, BOTH_DOORS, env={**own, "API": str(api), "PROBE": str(probe)}, port=port
    )
    server = PageServer(started.process, port, tmp_path, started._log)
    server.probe_port = probe
    with server:
        eventually(lambda: _answers(api))
        tell = json.dumps({"do": "remember", "text": "over chat"})
        assert rawhttp.chat(api, {"message": tell, "session_id": "shared"}).content == "over chat"
        browser = server.browser()
        with browser.connect(thread_id="shared") as chat:
            assert chat.wait_for("resume_thread")["id"] == "shared"
            assert chat.answer(chat.do("remember", text="on the page")) == "over chat on the page"
            results: list[Any] = []
            count = json.dumps({"do": "count", "mark": "m", "pace": 0.05})
            threads = [
                threading.Thread(
                    target=lambda: results.append(
                        rawhttp.chat(api, {"message": count, "session_id": "shared"}).content
                    )
                )
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            asked = [chat.say(count) for _ in range(4)]
            results += [int(chat.answer(each)) for each in asked]
            for thread in threads:
                thread.join(30)
            assert sorted(results) == list(range(8)), "each saw those before it, and no other at its side"
            assert server.probe()["overlaps"] == 0
        server.interrupt()
        assert server.wait() == 0
        assert server.log.splitlines()[-1] == "ended"
        assert "Traceback" not in server.log


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        return rawhttp.get(port, "/health").status == 200
    return False


# A database that goes away


def test_a_database_that_is_down(tmp_path: Path, postgres: PostgresServer) -> None:
    url = postgres.new_database().render_as_string(hide_password=False)
    with page_client.serve(tmp_path, DATABASE=url, DB_TIMEOUT="2") as server:
        browser = server.browser()
        with browser.connect() as chat:
            assert chat.answer(chat.do("remember", text="one")) == "one"
            thread = chat.thread_id
            postgres.stop()
            begun = time.monotonic()
            lost = chat.do("remember", text="lost")
            assert "database" in chat.answer(lost)
            for answer in (
                browser.thread(thread),
                browser.request("POST", "/project/threads", {"pagination": {"first": 5}, "filter": {}}),
            ):
                assert answer.status == 503
                assert answer.header("retry-after")
                assert "127.0.0.1" not in answer.body.decode()
                assert "psycopg" not in answer.body.decode()
            with pytest.raises(Refused):
                browser.connect(thread_id=thread)
            assert browser.request("GET", "/health").status == 200
            assert time.monotonic() - begun < 20
            postgres.start()
            assert chat.answer(chat.do("remember", text="two")) == "one two"
        assert [step["output"] for step in browser.thread(thread).json["steps"]][-1] == "one two"
        with browser.connect(thread_id=thread) as chat:
            assert chat.answer(chat.do("remember", text="three")) == "one two three"
