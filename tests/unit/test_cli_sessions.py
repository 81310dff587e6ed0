"""``appbuilder sessions`` on a database of its own."""

from __future__ import annotations

import io
import json
import stat
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.store.helpers import entry_turn, turn
from tests.unit.commandline import CommandLine, Ran

from appbuilder import clock
from appbuilder.cli.sessions_verb import age
from appbuilder.core.runs import LiveRun
from appbuilder.core.store import TurnRecord
from appbuilder.engine import cancel_runs
from appbuilder.errors import ConfigurationError
from appbuilder.ids import new_id
from appbuilder.settings import Settings
from appbuilder.store.databases.urls import parse
from appbuilder.store.runs import run_registry
from appbuilder.store.sessions.session_store import SqlStore


class Database:
    """A SQLite file and the command line on it."""

    def __init__(self, folder: Path, line: CommandLine, name: str = "foo.db") -> None:
        self.url = f"sqlite:///{folder}/{name}"
        self._line = line

    def __call__(self, *arguments: str, status: int = 0) -> Ran:
        ended = self._line("sessions", *arguments, APPBUILDER_DATABASE=self.url)
        assert ended.status == status, ended
        return ended

    def fill(self) -> None:
        """Two sessions of ann, one of bob, one that nobody began."""
        store = SqlStore(parse(self.url), Settings())
        store.prepare_conversations()
        for session, owner, asked in [("a1", "user:ann", "天气"), ("a2", "user:ann", "hello"),
                                      ("b1", "user:bob", "hi")]:
            said = {"input": {"content": asked}, "answer": {"content": f"{asked}!"}}
            rows = [("query", asked)]
            store.commit(entry_turn(session, owner, asked, *rows, row_id=f"turn-{session}", **said))
        store.commit(turn("n1", ("query", "old"), ("answer", "times")))
        store.close()

    def listed(self, *arguments: str) -> list[str]:
        lines = self("list", "--json", *arguments).out.splitlines()
        return [json.loads(line)["session_id"] for line in lines]


@pytest.fixture
def line(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.fixture
def database(tmp_path: Path, line: CommandLine) -> Database:
    made = Database(tmp_path, line)
    made.fill()
    return made


def test_sessions_are_listed(database: Database) -> None:
    shown = database("list").out.splitlines()
    assert shown[0].split() == ["session", "owner", "started", "newest", "turn", "title"]
    assert shown[1].split()[0] == "n1"
    assert "天气" in shown[4]
    assert database.listed() == ["n1", "b1", "a2", "a1"]
    assert database.listed("--user", "ann", "--limit", "1") == ["a2"]
    assert database.listed("--owner", "user:ann", "--search", "天") == ["a1"]


def test_what_was_said_is_shown(database: Database) -> None:
    shown = database("show", "a1").out
    assert shown.startswith("天气\na1, of user:ann\n")
    assert "> 天气\n天气!\n" in shown
    (said,) = map(json.loads, database("show", "n1", "--json").out.splitlines())
    assert (said["input"], said["answer"], said["state"]) == ("old", "times", "complete")
    assert database("show", "zz", status=1).err == "There is no session 'zz'.\n"


def test_all_is_carried_to_another_database(database: Database, tmp_path: Path, line: CommandLine) -> None:
    file = tmp_path / "all.jsonl"
    database("export", "--output", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "exists already" in database("export", "--output", str(file), status=2).err
    other = Database(tmp_path, line, "other.db")
    assert other("import", str(file)).out == "Imported 4 sessions.\n"
    assert set(other.listed()) == {"a1", "a2", "b1", "n1"}
    assert other.listed("--user", "bob") == ["b1"]
    for session in ("a1", "n1"):
        assert said_in(other, session) == said_in(database, session)
    again = other("import", str(file))
    assert again.out == "Imported 0 sessions.\n"
    assert "because they exist already: " in again.err
    assert other("import", str(file), "--new-ids", "--user", "carol").out == "Imported 4 sessions.\n"
    assert len(other.listed("--user", "carol")) == 4


def said_in(database: Database, session: str) -> list[tuple[Any, ...]]:
    told = map(json.loads, database("show", session, "--json").out.splitlines())
    return [(each["input"], each["answer"], each["state"], each["request_id"]) for each in told]


def test_a_session_whose_id_is_longer_than_ours(
    database: Database, tmp_path: Path, line: CommandLine
) -> None:
    """SQLite has kept whatever the SDK was given."""
    name, file = "x" * 55, tmp_path / "one.jsonl"
    store = SqlStore(parse(database.url), Settings())
    store.commit(turn(name, ("query", "old"), ("answer", "times")))
    store.close()
    assert name in database.listed()
    assert "> old\ntimes\n" in database("show", name).out
    database("export", name, "--output", str(file))
    other = Database(tmp_path, line, "other.db")
    assert other("import", str(file)).out == "Imported one session.\n"
    (copy,) = other.listed()
    assert said_in(other, copy) == said_in(database, name)
    assert database("delete", name, "--yes").out == "Deleted one session.\n"
    assert name not in database.listed()


def test_messages_of_openai_go_out_and_come_in(
    database: Database, tmp_path: Path, line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = database("export", "n1", "--format", "openai").out
    messages = [{"role": "user", "content": "old"}, {"role": "assistant", "content": "times"}]
    assert json.loads(written) == {"messages": messages}
    other = Database(tmp_path, line, "other.db")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(written.encode() * 2)))
    assert other("import", "-", "--user", "ann").out == "Imported 2 sessions.\n"
    assert len(other.listed("--user", "ann")) == 2
    assert other("export", "--format", "openai").out == written * 2


def test_a_file_with_a_wrong_line_is_refused_as_a_whole(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "x"}]}\nnonsense\n')
    assert database("import", str(file), status=1).err.startswith(f"{file}: Line 2: not valid JSON")
    assert len(database.listed()) == 4
    assert "cannot be read" in database("import", str(tmp_path / "missing"), status=2).err


def test_what_cannot_be_stored_is_found_before_anything_is(database: Database, tmp_path: Path) -> None:
    file, half = tmp_path / "some.jsonl", {"key": "_appbuilder.feedback", "value": {"turn": "x"}}
    good, bad = (database("export", each).out for each in ("a1", "b1"))
    lines = bad.splitlines()
    lines.append(json.dumps({**json.loads(lines[-1]), **half}))
    file.write_text((good + "\n".join(lines)).replace('"a1"', '"new"').replace('"b1"', '"bad"'))
    said = database("import", str(file), status=1).err
    assert said == f"{file}: Session 'bad': A rating in the conversation is not valid.\n"
    assert len(database.listed()) == 4


def test_sessions_without_a_turn_are_left_out(database: Database, tmp_path: Path) -> None:
    """They were deleted while they were exported."""
    file = tmp_path / "some.jsonl"
    first, *rest = database("export", "a1").out.replace('"a1"', '"new"').splitlines()
    file.write_text("\n".join([first.replace('"new"', '"gone"'), first, *rest, '{"messages": []}']))
    ended = database("import", str(file))
    assert ended.out == "Imported one session.\n"
    assert ended.err == "Skipped, because they have no turns: 2 sessions.\n"
    assert len(database.listed()) == 5


def test_sessions_are_deleted_and_users_erased(database: Database) -> None:
    assert "pass --yes" in database("delete", "a1", status=2).err
    assert database("delete", "a1", "zz", "--yes", status=1).err == "There is no session 'zz'.\n"
    assert database("delete", "a1", "a1", "--yes").out == "Deleted one session.\n"
    assert database.listed("--user", "ann") == ["a2"]
    assert database("delete", "--user", "ann", "--yes").out == "Erased 2 sessions of user:ann.\n"
    assert database.listed() == ["n1", "b1"]
    for arguments in ((), ("b1", "--user", "bob")):
        assert "Pass ids of sessions, or --user" in database("delete", *arguments, "--yes", status=2).err
    assert "not both" in database("list", "--user", "a", "--owner", "b", status=2).err


class Service:
    """A process of a service on the same database, with a turn under way; it ends when it is told to stop."""

    def __init__(self, url: str, owner: str, session_id: str) -> None:
        self.store = SqlStore(parse(url), Settings())
        self.store.prepare_service()
        self.turn: TurnRecord | None = entry_turn(session_id, owner, "x", ("query", "said meanwhile"))
        self._run = LiveRun(new_id(), session_id, "r", owner, clock.now(), "running", "here:1", 3)
        self._register = self.store.run_register()
        self._register.start(lambda: self)
        while not self.store.run_register().runs([owner]):
            time.sleep(0.01)

    def runs(self) -> list[LiveRun]:
        return [self._run] if self.turn is not None else []

    def stop_run(self, run_id: str) -> bool:
        assert run_id == self._run.id
        if self.turn is not None:
            self.store.commit(self.turn)
        self.turn = None
        return True

    def close(self) -> None:
        self._register.close()
        self.store.close()


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_registry, "POLL_INTERVAL", 0.01)


@pytest.mark.usefixtures("ticking")
@pytest.mark.parametrize(("arguments", "said"), [
    (["a1"], "Deleted one session.\n"), (["--user", "ann"], "Erased 2 sessions of user:ann.\n")
])
def test_turns_under_way_are_stopped_first(database: Database, arguments: list[str], said: str) -> None:
    others = Service(database.url, "user:bob", "b1")
    service = Service(database.url, "user:ann", "a1")
    try:
        assert database("delete", *arguments, "--yes").out == said
        assert service.turn is None
        assert others.turn is not None
        assert "a1" not in database.listed()
    finally:
        service.close()
        others.close()


@pytest.mark.usefixtures("ticking")
def test_a_turn_that_does_not_end_keeps_its_session(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancel_runs, "STOP_WAIT", 0.0)
    service = Service(database.url, "user:ann", "a1")
    monkeypatch.setattr(service, "stop_run", lambda run_id: True)
    try:
        assert "has not ended yet" in database("delete", "a1", "--yes", status=1).err
        assert "a1" in database.listed()
    finally:
        service.close()


def test_who_is_erased_is_not_recognized_any_more(database: Database) -> None:
    store = SqlStore(parse(database.url), Settings())
    store.prepare_service()
    for who in ("ann", "bob"):
        store.transcripts().remember(f"user:{who}", "digest", f"{who}'s")
    database("delete", "--user", "ann", "--yes")
    assert store.transcripts().take("user:ann", "digest") is None
    assert store.transcripts().take("user:bob", "digest") == "bob's"
    store.close()


def test_old_sessions_are_pruned(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert database("prune", "--older-than", "1d", "--yes").out == "Erased 0 sessions.\n"
    later = clock.now() + timedelta(days=40)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert "pass --yes" in database("prune", "--older-than", "30d", status=2).err
    assert database("prune", "--older-than", "30d", "--yes").out == "Erased 4 sessions.\n"
    assert database.listed() == []


def test_nothing_is_made_where_there_is_no_database(tmp_path: Path, line: CommandLine) -> None:
    missing = Database(tmp_path, line, "missing.db")
    assert missing("list", status=2).err.startswith(f"There is no database at {tmp_path}/missing.db. ")
    assert list(tmp_path.iterdir()) == []
    missing.url = "sqlite://"
    assert "empty in each process" in missing("list", status=2).err


@pytest.mark.parametrize(("text", "hours"), [("12h", 12), ("30d", 720), ("4w", 672)])
def test_ages(text: str, hours: int) -> None:
    assert age(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "d", "30", "-3d", "3 d", "3y", "٣d", "1000000d"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--older-than must be an age"):
        age(text)
    assert datetime(9999, 1, 1) - age("99999w") > datetime(8, 1, 1)
