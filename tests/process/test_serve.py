"""``serve(debug=False)`` from start to stop, in real processes."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest
from tests.process.server import Server, free_port, start_program
from tests.process.talk import COMPONENT, IN_A_LOOP, KINDS, SERVE, rows, serve, until, words


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_and_stops(kind: str, tmp_path: Path) -> None:
    with serve(tmp_path, kind) as server:
        assert server.chat("a", session_id="s", n=2).content == "a0 a1 "
        with server.stream("b", session_id="s") as events:
            assert events.answer.getheader("Content-Type") == "text/event-stream; charset=utf-8"
            assert events.texts == words("b", 3)
        assert server.chat("history?", session_id="s").content == ["a", "b"]
        assert server.request("GET", "/nothing").status == 404
        status = server.terminate()
        assert status == (-signal.SIGTERM if kind == "threaded" else 0)
        assert server.log.count("serving on") == 1
        assert f"curl http://127.0.0.1:{server.port}/chat" in server.log
        assert "Traceback" not in server.log
    # The database is whole without its side files, and there is nothing else.
    assert {path.name for path in tmp_path.iterdir()} == {"program.py", "server.log", "talk.db"}


@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
def test_the_program_runs_once_and_goes_on_after_serve(worker_class: str, tmp_path: Path) -> None:
    source = (
        "print('before', flush=True)\n"
        + COMPONENT
        + "try:\n    runtime.serve(host='127.0.0.1', port=port, debug=False)\n"
        + "except BaseException as error:\n    print('caught', error)\n"
        + "finally:\n    print('finally')\n"
        + "import signal\nprint('after', signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)\n"
    )
    env = {"APPBUILDER_WORKER_CLASS": worker_class, "APPBUILDER_WORKERS": "2"}
    with start_program(tmp_path, source, env=env) as server:
        until(lambda: len({server.chat("process?").content for _ in range(4)}) == 2)
        assert server.terminate() == 0
        lines = [line for line in server.log.splitlines() if "serving on" not in line]
        assert lines == ["before", "finally", "after True"]


@pytest.mark.parametrize("kind", KINDS)
def test_running_turns_finish_after_sigterm(kind: str, tmp_path: Path) -> None:
    with serve(tmp_path, kind, APPBUILDER_ON_DISCONNECT="continue") as server:
        with server.stream("without a reader", n=10, wait=0.15) as events:
            next(events)
        with server.stream("a", n=10, wait=0.15) as events:
            next(events)
            server.signal(signal.SIGTERM)
            until(lambda: _refused(server))
            assert events.texts == words("a", 10)[1:]
        server.wait()
    whole = {("".join(words(text, 10)), None) for text in ("a", "without a reader")}
    assert set(rows(tmp_path, "answer")) == whole


@pytest.mark.parametrize("kind", KINDS)
def test_turns_that_do_not_finish_are_marked(kind: str, tmp_path: Path) -> None:
    with (
        serve(tmp_path, kind, APPBUILDER_DRAIN_TIMEOUT="0.5") as server,
        server.stream("a", n=1000, wait=0.1) as running,
        # Under gevent no sleep is one that does not listen.
        server.stream("b", hang=100.0) as hanging,
    ):
        next(running)
        next(hanging)
        begun = time.monotonic()
        server.signal(signal.SIGTERM)
        for events in running, hanging:
            last = list(events)[-1]
            assert last["code"] == 503
            assert last["result"] is None
        server.wait()
        assert time.monotonic() - begun < 10
    found = dict(rows(tmp_path, "answer"))
    assert list(found.values()) == ["incomplete"] * 2
    assert "b0 " in found


@pytest.mark.parametrize("kind", ["gthread", "threaded"])
def test_ctrl_c_lets_turns_finish_and_a_second_one_does_not(kind: str, tmp_path: Path) -> None:
    with serve(tmp_path, kind) as server, server.stream("a", n=200, wait=0.1) as events:
        next(events)
        server.interrupt()
        until(lambda: "stopping" in server.log)
        for _ in range(5):
            next(events)  # it goes on
        begun = time.monotonic()
        server.interrupt()
        server.wait()
        assert time.monotonic() - begun < 5
        assert "Traceback" not in server.log


@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
def test_no_worker_is_missing_and_none_is_left_over(worker_class: str, tmp_path: Path) -> None:
    with serve(tmp_path, worker_class) as server:
        first = server.chat("process?").content
        os.kill(first, signal.SIGKILL)
        until(lambda: not _runs(first))
        second = server.chat("process?").content
        assert second != first
        os.kill(server.process.pid, signal.SIGKILL)
        until(lambda: not _runs(second))


REASONS = {
    "host='127.0.0.1', port=taken": "Port {taken} is in use by another program",
    "host='192.0.2.1', port=port": "The host '192.0.2.1' is not an address of this machine",
    "host='no such host', port=port": "The host 'no such host' is not known",
    "port=70000": "The port must be a whole number from 0 to 65535",
}


@pytest.mark.parametrize("debug", [False, True])
def test_it_says_in_one_sentence_why_it_cannot_start(debug: bool, tmp_path: Path) -> None:
    source = COMPONENT + "taken = int(os.environ['TAKEN'])\n"
    for call in REASONS:
        source += f"try: runtime.serve({call}, debug={debug})\n"
        source += "except ValueError as error: print(repr(error))\n"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        with start_program(tmp_path, source, env={"TAKEN": taken}, ready=None) as server:
            assert server.wait() == 0
            lines = server.log.splitlines()
    assert len(lines) == len(REASONS)
    for line, reason in zip(lines, REASONS.values(), strict=True):
        assert line.startswith("ConfigurationError(")
        assert reason.format(taken=taken) in line


def test_without_gevent_it_names_the_extra(tmp_path: Path) -> None:
    source = "import sys; sys.modules['gevent'] = None\n" + SERVE
    with start_program(tmp_path, source, env={"APPBUILDER_WORKER_CLASS": "gevent"}, ready=None) as server:
        assert server.wait() == 1
        assert "pip install 'appbuilder-runtime[gevent]'" in server.log.splitlines()[-1]


def test_a_program_that_patched_itself_gets_the_gevent_worker(tmp_path: Path) -> None:
    source = "from gevent import monkey; monkey.patch_all()\n" + SERVE
    with start_program(tmp_path, source) as server:
        assert server.chat("a").content == "a0 a1 a2 "
        with server.stream("b") as events:
            assert events.texts == words("b", 3)
        assert server.terminate() == 0
        assert "Traceback" not in server.log


def test_in_another_thread_it_serves_until_the_process_ends(tmp_path: Path) -> None:
    source = COMPONENT + (
        "import threading, sys\n"
        "def go(): runtime.serve(host='127.0.0.1', port=port, debug=False)\n"
        "threading.Thread(target=go, daemon=True).start()\n"
        "while not os.path.exists('stop'): time.sleep(0.02)\n"
    )
    with start_program(tmp_path, source) as server:
        with server.stream("a", n=10, wait=0.1) as events:
            next(events)
            (tmp_path / "stop").touch()
            assert events.texts == words("a", 10)[1:]
        assert server.wait() == 0
    assert rows(tmp_path, "answer") == [("".join(words("a", 10)), None)]


def test_it_can_serve_again(tmp_path: Path) -> None:
    again = IN_A_LOOP.replace("asyncio.run(main())", "for _ in range(2): asyncio.run(main())")
    with start_program(tmp_path, again) as server:
        assert server.chat("a", session_id="s").status == 200
        server.signal(signal.SIGINT)
        until(lambda: server.log.count("serving on") == 2)
        server.wait_ready()
        assert server.chat("history?", session_id="s").content == ["a"]


def test_the_threaded_server_has_a_limit(tmp_path: Path) -> None:
    with serve(tmp_path, "threaded", APPBUILDER_THREADS="2") as server:
        with server.stream("a", n=100, wait=0.1), server.stream("b", n=100, wait=0.1):
            assert server.request("GET", "/health").status == 503
        until(lambda: server.request("GET", "/health").status == 200)


def test_ipv6(tmp_path: Path) -> None:
    source = SERVE.replace("127.0.0.1", "::1")
    port = free_port()
    with start_program(tmp_path, source, port=port, ready=None) as server:
        until(lambda: "serving on" in server.log)
        with socket.create_connection(("::1", port), 10) as connection:
            connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            assert b" 200 OK" in connection.recv(100)
        assert f"http://[::1]:{port}/chat" in server.log


def _refused(server: Server) -> bool:
    try:
        return server.request("GET", "/health").status == 503
    except OSError:
        return True


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


