"""The secret that signs cookies: kept, private, one for all processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from appbuilder.serve.auth import signing_secret
from appbuilder.serve.auth.signing_secret import for_workers, signing_key
from appbuilder.settings import Settings

PRINT_KEY = """
import sys
from appbuilder.serve.auth.signing_secret import signing_key
from appbuilder.settings import Settings
sys.stdin.readline()
print(signing_key(Settings(), "page").hex())
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "appbuilder"


def test_it_is_made_once_and_is_nobody_else_s(state: Path) -> None:
    key = signing_key(Settings(), "page")
    assert len(key) == 32
    assert signing_key(Settings(), "page") == key
    assert [path.name for path in state.iterdir()] == ["page.secret"]
    assert (state / "page.secret").stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700


def test_each_purpose_has_a_key_of_its_own() -> None:
    keys = {signing_key(Settings(), purpose) for purpose in ("page of a", "page of b", "")}
    assert len(keys) == 3


def test_a_given_secret_is_taken_and_nothing_is_kept(state: Path) -> None:
    key = signing_key(Settings(page_secret="given"), "page")
    assert key == signing_key(Settings(page_secret="given"), "page")
    assert key != signing_key(Settings(page_secret="other"), "page")
    assert not state.exists()
    assert "given" not in repr(Settings(page_secret="given"))


def test_processes_that_start_at_once_agree() -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", PRINT_KEY], text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    keys = {process.communicate(timeout=30)[0] for process in processes}
    assert keys == {signing_key(Settings(), "page").hex() + "\n"}


def test_threads_that_make_it_at_once_agree(state: Path) -> None:
    gate, keys = threading.Barrier(8), set()

    def make() -> None:
        gate.wait()
        keys.add(signing_key(Settings(), "page"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 1
    assert [path.name for path in state.iterdir()] == ["page.secret"]


def test_a_home_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")  # not even root writes there
    keys = {signing_key(Settings(), "page") for _ in range(3)}
    assert len(keys) == 3
    assert "APPBUILDER_PAGE_SECRET" in caplog.text
    assert not any(key.hex() in caplog.text for key in keys)


def test_no_home_at_all(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """In a container a process may run as somebody who is in no list of users."""
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME", raising=False)

    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert len(signing_key(Settings(), "page")) == 32
    assert "APPBUILDER_PAGE_SECRET" in caplog.text


def test_a_damaged_secret_is_not_used(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    state.mkdir(parents=True)
    for damaged in (b"", b"short"):
        (state / "page.secret").write_bytes(damaged)
        assert signing_key(Settings(), "page") != signing_key(Settings(), "page")
        assert "damaged" in caplog.text
        assert (state / "page.secret").read_bytes() == damaged, "it is left for its owner to look at"


def test_a_relative_state_folder_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    signing_key(Settings(), "page")
    assert sorted(os.listdir(tmp_path)) == ["home"]
    assert signing_secret.state_folder() == tmp_path / "home/.local/state/appbuilder"


def test_workers_have_one_secret_where_none_can_be_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))
    assert len(for_workers(Settings()).page_secret) == 64
    assert for_workers(Settings(page_secret="given")).page_secret == "given"


def test_workers_find_the_secret_that_is_kept(state: Path) -> None:
    assert for_workers(Settings()) == Settings()
