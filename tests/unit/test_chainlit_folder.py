"""The folder of a page's process: its own, gone with it, and swept after a kill."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from appbuilder.serve.page.chainlit_folder import PageFolder

HOLD = """
import sys, pathlib
from appbuilder.serve.page.chainlit_folder import PageFolder
folder = PageFolder(pathlib.Path(sys.argv[1]))
print(folder.path.name, flush=True)
sys.stdin.readline()
"""


def hold(cache: Path) -> tuple[subprocess.Popen[str], str]:
    """A process that has a folder, and the folder's name."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(cache)], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def names(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()}


def test_each_has_its_own_and_removes_it(tmp_path: Path) -> None:
    cache = tmp_path / "not" / "there"
    one, two = PageFolder(cache), PageFolder(cache)
    assert names(cache) == {one.path.name, two.path.name}
    (one.path / "sub").mkdir()
    (one.path / "sub" / "file").write_text("x")
    one.remove()
    assert names(cache) == {two.path.name}
    assert two.path.stat().st_mode & 0o777 == 0o700
    two.remove()
    two.remove()
    assert names(cache) == set()


def test_what_a_killed_process_left_is_swept_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    killed, dead = hold(tmp_path)
    living, alive = hold(tmp_path)
    with killed, living:
        (tmp_path / dead / "file").write_text("x")
        killed.kill()
        killed.wait()
        assert names(tmp_path) == {dead, alive}
        mine = PageFolder(tmp_path)
        assert names(tmp_path) == {alive, mine.path.name}
        living.communicate("\n", timeout=30)
    mine.remove()


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "page-just-being-made").mkdir()
    (tmp_path / "page-file").write_text("x")
    mine = PageFolder(tmp_path)
    mine.remove()
    assert names(tmp_path) == {"models", "page-just-being-made", "page-file"}


def test_many_that_come_and_go_at_once(tmp_path: Path) -> None:
    seen, errors = set[Path](), list[BaseException]()
    gate = threading.Barrier(6)

    def come_and_go() -> None:
        gate.wait()
        for _ in range(20):
            try:
                folder = PageFolder(tmp_path)
                (folder.path / "mine").write_text("x")
                assert (folder.path / "mine").read_text() == "x", "it was swept while in use"
                seen.add(folder.path)
                folder.remove()
            except BaseException as error:
                errors.append(error)
                raise

    threads = [threading.Thread(target=come_and_go) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert names(tmp_path) == set()
