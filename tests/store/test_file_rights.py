"""The files of a SQLite database are their owner's alone, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store.conftest import Opener
from tests.store.helpers import add, execute, take

from appbuilder.store.databases import urls
from appbuilder.store.databases.urls import parse


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def rights(folder: Path) -> dict[str, int]:
    """Of all that is in *folder*."""
    return {str(each.relative_to(folder)): stat.S_IMODE(each.stat().st_mode) for each in folder.rglob("*")}


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("url", [
    "sqlite:///foo.db", "sqlite:///{}/foo.db", "sqlite:///file:foo.db?uri=true",
    "sqlite:///file:{}/foo.db?uri=true&mode=rwc", "sqlite:///file://localhost{}/f%256fo.db?uri=true",
])
def test_new_files(url: str, tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = opened(url.format(tmp_path))
    store.prepare_service()
    add(store, "s", "x")
    take(store, "s").release()
    found = rights(tmp_path)
    assert {"foo.db", "foo.db-wal", "foo.db-shm", "foo.db-turns"} <= set(found)
    assert {mode for name, mode in found.items() if name != "foo.db-turns"} == {0o600}
    assert found["foo.db-turns"] == 0o700


def test_a_file_that_is_there_keeps_its_rights(tmp_path: Path, opened: Opener) -> None:
    url = f"sqlite:///{tmp_path}/foo.db"
    execute(url, "CREATE TABLE other (x)")
    (tmp_path / "foo.db").chmod(0o644)
    store = opened(url)
    add(store, "s", "x")
    assert set(rights(tmp_path).values()) == {0o644}
    (fact,) = [each for each in store.describe() if each.name == "rights of the file"]
    assert (fact.value, fact.good) == ("0644", False)
    assert f"chmod o= {tmp_path}/foo.db*" in fact.advice
    (tmp_path / "foo.db").chmod(0o640)
    (fact,) = [each for each in store.describe() if each.name == "rights of the file"]
    assert (fact.value, fact.good, fact.advice) == ("0640", True, "")


@pytest.mark.parametrize(("url", "path"), [
    ("sqlite://", ""), ("sqlite:///:memory:", ""), ("sqlite:///file::memory:?uri=true&cache=shared", ""),
    ("sqlite:///file:x?mode=memory&uri=true", ""), ("sqlite:///file:/x/a.db?uri=true&mode=ro", ""),
    ("sqlite:///file:/x/a.db?uri=true&mode=rw", ""), ("sqlite:///file:/x/a.db?uri=true&vfs=unix-none", ""),
    ("sqlite:////x/a.db", "/x/a.db"), ("sqlite:///file:///x/a.db?uri=true", "/x/a.db"),
    ("sqlite:///file:/x/a%2520b.db?uri=true", "/x/a b.db"), ("postgresql://u@h/d", ""),
])
def test_which_file_is_made(url: str, path: str) -> None:
    assert urls.file_to_make(parse(url)) == path
