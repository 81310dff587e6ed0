"""What ``app.py:agent`` means, and what is said where it means nothing."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appbuilder.errors import ConfigurationError
from appbuilder.runtime.loading import load, load_function, load_service
from appbuilder.settings import Settings

RUNS = "def run(self, message, stream=False): return 'whole'"


@pytest.fixture(autouse=True)
def _as_in_a_new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def said(target: str) -> Any:
    return load(target).run("x").content


def sentence(target: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(target)
    return str(caught.value)


@pytest.mark.parametrize("target", ["app.py:answer", "./app.py:answer", "app:answer", "app.py", "app"])
def test_a_file_with_one_function(target: str) -> None:
    write("app.py", "from os.path import join\nX = 5\ndef _own(a): ...\ndef answer(m): return m + '!'")
    assert said(target) == "x!"
    assert load(target).name == "answer"


@pytest.mark.parametrize("name", ["watchfiles", "colorsys", "xdrlib_of_nothing"])
def test_installed_packages_go_before_files_of_the_folder(name: str) -> None:
    write(f"{name}.py", "HERE = True")
    write("there/app_beside.py", "def answer(m): return m")
    write(f"there/{name}.py", "HERE = True")
    for target in ("there/app_beside.py", f"{name}.py:HERE"):
        with contextlib.suppress(ConfigurationError):  # HERE cannot answer
            load(target)
    assert hasattr(importlib.import_module(name), "HERE") == (name == "xdrlib_of_nothing")


def test_a_file_elsewhere_imports_from_its_own_folder(tmp_path: Path) -> None:
    write("there/helper_there.py", "END = '?'")
    write("there/agent_there.py", "from helper_there import END\nagent = lambda m: m + END")
    assert said("there/agent_there.py:agent") == "x?"
    assert said(f"{tmp_path}/there/agent_there.py:agent") == "x?"
    assert load("there/agent_there.py:agent").name == "agent"


def test_a_file_in_a_package_is_that_packages_module() -> None:
    write("pack_a/__init__.py", "")
    write("pack_a/parts.py", "END = '.'")
    write("pack_a/agents.py", "from .parts import END\n"
          "class Inner:\n    agent = staticmethod(lambda m: m + END)")
    assert said("pack_a/agents.py:Inner.agent") == "x."
    assert said("pack_a.agents:Inner.agent") == "x."
    assert "pack_a.agents" in sys.modules


def test_a_file_named_like_a_module_of_python_takes_nobodys_place() -> None:
    import code

    write("code.py", "def answer(m): return 'mine'")
    assert said("code.py") == said("./code.py:answer") == "mine"
    assert sys.modules["code"] is code


def test_of_a_runtime_its_component_is_served() -> None:
    write("seed.py", "import appbuilder\n"
          f"class Mine(appbuilder.Component):\n    {RUNS}\n"
          "component = Mine()\nagent = appbuilder.FlaskRuntime(component)")
    module = sys.modules
    assert load("seed.py:agent") is load("seed.py") is load("seed.py:component")
    assert module["seed"].agent.component is load("seed.py")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"class A:\n    {RUNS}\nagent = A()\ndef helper(x): ...", "agent"),
        (f"class A:\n    {RUNS}\ndef helper(x): ...", "A"),
        ("from appbuilder import Component\nanswer = 5\ndef helper(): ...\ndef only(x): ...", "only"),
    ],
)
def test_the_only_thing_that_can_answer_is_taken(text: str, name: str) -> None:
    write("app.py", text)
    assert load("app.py") is not None
    named = load(f"app.py:{name}")
    assert type(named) is type(load("app.py"))
    told = sentence("app.py:nothing")
    assert told.startswith("app.py has no 'nothing'; ")
    assert told.endswith(" would do.")
    assert name in told.replace(",", "").split()


def test_several_are_listed() -> None:
    write("app.py", "def one(m): ...\ndef two(m): ...\ndef three(m): ...")
    assert sentence("app.py") == (
        "Several things in app.py could answer: one, two or three; name one, as app.py:one."
    )
    assert sentence("app.py:four") == "app.py has no 'four'; one, two or three would do."


def test_a_name_that_is_not_there_is_told_the_closest_of_any_kind() -> None:
    write("app.py", f"class Agent:\n    {RUNS}\nagent = Agent()\ndef helper(m): ...\ndef answer(m): ...")
    assert sentence("app.py:answr") == "app.py has no 'answr'; answer, agent, Agent or helper would do."
    assert sentence("app.py:agnt").startswith("app.py has no 'agnt'; agent, ")


def test_nothing_that_answers() -> None:
    write("app.py", "X = 5\nfrom os.path import join")
    assert sentence("app.py").startswith("Nothing in app.py can answer a message: write def answer(")
    assert sentence("app.py:Y") == "app.py has no 'Y'; nothing in it can answer a message."
    assert sentence("app.py:X").startswith("app.py:X: X (int) cannot answer a message: write def")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("missing.py:agent", "missing.py does not exist."),
        ("folder/", "folder is a folder; name a file in it."),
        ("missing_module:agent", "There is no module missing_module here, and no file missing_module.py."),
        ("json.missing:agent", "There is no module json.missing here"),
        ("os.path.x:agent", "There is no module os.path.x here"),
        ("what is this?", "'what is this?' is neither a file nor a module: name one, as app.py:agent"),
        ("C:\\apps\\missing.py", "does not exist."),
    ],
)
def test_what_is_not_there(target: str, expected: str) -> None:
    Path("folder").mkdir()
    assert expected in sentence(target)


def test_a_folder_nobody_may_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refused)
    for target in ("closed/app.py:answer", "closed.app:answer"):
        assert sentence(target).startswith("The file ")
        assert sentence(target).endswith("app.py cannot be reached: Permission denied.")


def test_a_file_this_user_may_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("app.py", "def answer(m): ...").resolve()
    monkeypatch.setattr("os.access", lambda asked, mode: (asked, mode) != (path, os.R_OK))
    assert sentence("app.py:answer") == f"The file {path} cannot be read: change its permissions."


def test_a_file_that_fails_shows_where_and_nothing_of_ours() -> None:
    write("app.py", "def broken():\n    import missing_part\nbroken()")
    for target in ("app.py:agent", "app:agent"):
        text = sentence(target)
        assert text.startswith("app.py could not be imported: ModuleNotFoundError: No module named 'missing")
        assert 'app.py", line 2, in broken' in text
        assert "loading.py" not in text
        assert "importlib" not in text


def test_a_package_that_fails_is_not_one_that_is_missing() -> None:
    write("pack_b/__init__.py", "import missing_part")
    write("pack_b/app.py", "def answer(m): ...")
    assert sentence("pack_b.app:answer").startswith(
        "pack_b.app could not be imported: ModuleNotFoundError: No module named 'missing_part'"
    )
    assert "missing_part" in sentence("pack_b/app.py:answer")


def test_a_file_that_is_no_python_shows_the_line() -> None:
    write("app.py", "def answer(m) return m")
    assert sentence("app.py").startswith("app.py could not be imported: SyntaxError")
    assert "def answer(m) return m" in sentence("app.py")


def test_a_file_that_ends_the_program() -> None:
    write("app.py", "import sys\nsys.exit(3)")
    assert sentence("app.py").startswith("app.py ended the program (status 3) while it was imported")


def test_a_class_that_cannot_be_made() -> None:
    write("app.py", f"class A:\n    def __init__(self): raise OSError('no disk')\n    {RUNS}\n"
          f"class B:\n    def __init__(self, key): ...\n    {RUNS}")
    assert sentence("app.py:A").startswith("app.py:A could not be made: OSError: no disk\nTraceback")
    assert sentence("app.py:B").startswith("app.py:B: The class B cannot be made without arguments")


def test_functions_of_the_program_that_settings_name() -> None:
    write("app.py", "def answer(m): return m")
    write("hooks.py", "def who(asking): return None\nX = 5")
    assert load_function("", "APPBUILDER_AUTH_HOOK") is None
    service = load_service("app.py", Settings(auth_hook="hooks.py:who", turn_hook="hooks:who"))
    assert service.name == "answer"
    assert service._hooks.auth is service._hooks.turn is sys.modules["hooks"].who


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("hooks.py", "V must name a function, as module:name or file.py:name."),
        ("hooks.py:nobody", "V: hooks.py has no 'nobody'."),
        ("hooks.py:X", "V: 'X' in hooks.py is no function."),
        ("missing:who", "V: There is no module missing here"),
    ],
)
def test_a_setting_that_names_no_function(target: str, expected: str) -> None:
    write("hooks.py", "X = 5")
    with pytest.raises(ConfigurationError) as caught:
        load_function(target, "V")
    assert str(caught.value).startswith(expected)
