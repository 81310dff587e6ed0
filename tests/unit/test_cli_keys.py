"""``appbuilder keys`` on a database of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.commandline import CommandLine, Ran

from appbuilder.settings import Settings
from appbuilder.store.sessions.open_stores import open_store


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/foo.db"


def test_keys_are_made_listed_and_revoked(
    url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = CommandLine(capsys)

    def keys(*arguments: str, status: int = 0) -> Ran:
        ended = line("keys", *arguments, "--database", url)
        assert ended.status == status, ended
        return ended

    assert "There is no database at" in keys("list", status=2).err
    assert list(tmp_path.iterdir()) == []
    added = keys("add", "laptop", "--user", "ann")
    secret = added.out.strip()
    assert secret not in added.err
    assert "Key laptop of user ann." in added.err
    keys("add", "root", "--administrator")
    assert "root" in keys("add", "root", status=1).err  # the name is taken

    found = open_store(url, Settings()).keys().find(secret)
    assert found is not None
    assert (found.name, found.user, found.administrator) == ("laptop", "ann", False)

    listed = keys("list").out
    assert listed.split()[:4] == ["id", "name", "user", "administrator"]
    assert secret not in listed
    first, second = map(json.loads, keys("list", "--json").out.splitlines())
    assert (first["name"], first["user"], first["administrator"], first["revoked_at"]) == (
        "laptop", "ann", False, None)
    assert (second["name"], second["user"], second["administrator"]) == ("root", "root", True)

    assert keys("revoke", "laptop").out == "Revoked laptop.\n"
    assert keys("revoke", "laptop", status=1).err == "There is no valid key 'laptop'.\n"
    assert json.loads(keys("list", "--json").out.splitlines()[0])["revoked_at"] is not None
