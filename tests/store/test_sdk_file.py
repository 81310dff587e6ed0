"""Databases the AppBuilder SDK wrote: they open in place, go on in order, and the SDK can read on."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.store.conftest import Opener
from tests.store.helpers import add, contents, fetch, turn

from appbuilder import clock
from appbuilder.core.context import init_context
from appbuilder.core.message import Message
from appbuilder.core.user_session import UserSession

DATA = Path(__file__).parent / "data"
WRITTEN = datetime(2026, 11, 21, 2, 19, 30)

READ = """
import json, sys
from appbuilder.core.context import init_context
from appbuilder.core.message import Message
from appbuilder.core.user_session import UserSession
session = UserSession("sqlite:///" + sys.argv[1])
context = init_context(session_id="sdk-session-1", request_id="r")
print(json.dumps([[m.content for m in session.get_history(key, 100)] for key in ("query", "answer")]))
session.append({"query": Message("from the SDK")})
session._post_append()
"""


@pytest.fixture(params=["sdk-utc.db", "sdk-shanghai.db"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, a minute after it was written: to us the rows from Shanghai lie hours in the future."""
    monkeypatch.setattr(clock, "now", lambda: WRITTEN + timedelta(minutes=1))
    return Path(shutil.copy(DATA / request.param, tmp_path / "user_session.db"))


def test_it_opens_in_place_and_goes_on_in_order(path: Path, opened: Opener) -> None:
    store = opened(f"sqlite:///{path}")
    assert contents(store, "sdk-session-1") == ["问题 1", "问题 2", "问题 3"]
    assert contents(store, "sdk-session-2", "answer", 2) == [{"text": "回答 2"}, {"text": "回答 3"}]
    for number in range(5):
        add(store, "sdk-session-1", number)
    assert contents(store, "sdk-session-1") == ["问题 1", "问题 2", "问题 3", 0, 1, 2, 3, 4]
    by_update = fetch(store.url, "SELECT message_value FROM appbuilder_session_messages WHERE session_id = "
                                 "'sdk-session-1' AND message_key = 'query' ORDER BY updated_at")
    assert [json.loads(row[0])["content"] for row in by_update] == contents(store, "sdk-session-1")
    assert contents(store, "sdk-session-2") == ["问题 1", "问题 2", "问题 3"]
    assert fetch(store.url, "SELECT name FROM sqlite_master WHERE type = 'table'") == [
        ("appbuilder_session_messages",)
    ]


def test_messages_are_restored(path: Path) -> None:
    init_context("sdk-session-1", "r")
    session = UserSession(f"sqlite:///{path}")
    (query,), (answer,) = session.get_history("query", 1), session.get_history("answer", 1)
    assert (query.content, query.mtype) == ("问题 3", "str")
    assert (answer.content, answer.mtype) == ({"text": "回答 3"}, "dict")
    session.append({"query": Message("neu")})
    session._post_append()
    assert [m.content for m in session.get_history("query", 2)] == ["问题 3", "neu"]
    session._open_store().close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai"])
def test_the_sdk_reads_what_we_add_and_writes_on(
    zone: str, tmp_path: Path, opened: Opener, sdk_python: Path
) -> None:
    path = tmp_path / "user_session.db"
    run(sdk_python, zone, (DATA / "write.py").read_text(), path)
    store = opened(f"sqlite:///{path}")
    add(store, "sdk-session-1", "ours 😀")
    store.commit(turn("sdk-session-1", ("query", "later"), mtype="str", name="msg", id="x"))
    queries, answers = json.loads(run(sdk_python, zone, READ, path).splitlines()[-1])
    # The SDK returns the whole dump where it should return the content.
    assert [each["content"] for each in queries] == ["问题 1", "问题 2", "问题 3", "ours 😀", "later"]
    assert [each["content"] for each in answers][-1] == "ours 😀"
    assert contents(store, "sdk-session-1", limit=2) == ["later", "from the SDK"]
    add(store, "sdk-session-1", "and ours again")
    assert contents(store, "sdk-session-1", limit=2) == ["from the SDK", "and ours again"]


def run(sdk_python: Path, zone: str, code: str, path: Path) -> str:
    done = subprocess.run(
        [str(sdk_python), "-c", code, str(path)], capture_output=True, text=True, check=False,
        env={"TZ": zone, "HOME": str(path.parent), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
