"""The command line: options, the file of settings, what is said where something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from unittest import mock

import pytest
from tests.unit.commandline import CommandLine

from appbuilder.cli import options
from appbuilder.cli.serve_verb import announcement
from appbuilder.setting_groups import GROUPS
from appbuilder.settings import Settings, flag, is_switch


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return CommandLine(capsys)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    shown = python("import sys, appbuilder.cli.app, appbuilder.cli.main; print(*sys.modules)").stdout.split()
    heavy = {"sqlalchemy", "chainlit", "uvicorn", "starlette", "flask", "openai", "httpx2", "prompt_toolkit",
             "rich.table", "prometheus_client", "opentelemetry"}
    assert "typer" in shown
    assert heavy & set(shown) == set()


def test_without_typer_the_extra_is_named() -> None:
    ended = python("import sys; sys.modules['typer'] = None\nfrom appbuilder.cli.main import main; main()")
    assert ended.returncode == 1
    assert ended.stderr == "The command line needs typer: pip install 'appbuilder-runtime[serve]'\n"


@pytest.mark.parametrize("missing", ["uvicorn", "httptools"])
def test_without_its_server_a_program_is_told_the_extra(missing: str) -> None:
    ended = python(f"import sys; sys.modules[{missing!r}] = None\nfrom appbuilder import ServiceRuntime\n"
                   "ServiceRuntime(lambda message: message, 'sqlite://').serve(port=0)")
    assert ended.stderr.splitlines()[-1] == (
        "appbuilder.errors.ConfigurationError: "
        f"The service needs {missing}: pip install 'appbuilder-runtime[serve]'"
    )


def test_a_page_that_is_asked_for_and_not_installed_names_the_extra(run: CommandLine) -> None:
    with mock.patch.dict(sys.modules, {"chainlit": None}):
        for ended in (run("serve", "app.py", "--page"), run("serve", "app.py", APPBUILDER_PAGE="true")):
            assert (ended.status, ended.out) == (2, "")
            assert ended.err == "The chat page needs Chainlit: pip install 'appbuilder-runtime[serve]'\n"


def test_without_chainlit_it_is_said_that_there_is_no_page(run: CommandLine) -> None:
    with mock.patch.dict(sys.modules, {"chainlit": None}):
        ended = run("serve", "missing.py")
        quiet = run("serve", "missing.py", "--no-page")
    assert ended.out == (
        "Serving without the chat page. "
        "The chat page needs Chainlit: pip install 'appbuilder-runtime[serve]'\n"
    )
    assert quiet.out == ""


def test_serve_has_a_flag_for_every_setting(run: CommandLine) -> None:
    shown = run("serve", "--help").out
    for setting in fields(Settings):
        assert f"  {flag(setting.name)}" in shown, setting.name
        if is_switch(setting.default):
            assert f"--no-{flag(setting.name)[2:]}" in shown
    assert "--config FILE" in shown


def test_verbs_explain_themselves(run: CommandLine) -> None:
    ended = run()
    assert ended.status == 2
    for verb in ("init", "serve", "chat", "sessions", "keys", "doctor"):
        assert f"\n  {verb} " in ended.out + ended.err
        assert run(verb, "--help").status == 0


@pytest.mark.usefixtures("run")
def test_flags_go_before_the_environment_and_that_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("appbuilder.toml").write_text("port = 1\nmax_turns = 1\nhost = 'file'\npage = false\n")
    monkeypatch.setenv("APPBUILDER_PORT", "2")
    monkeypatch.setenv("APPBUILDER_MAX_TURNS", "2")
    monkeypatch.setenv("OPENAI_API_KEY", "kept")
    for setting in fields(Settings):  # put back at the end, whatever is set meanwhile
        monkeypatch.setenv(setting.metadata["env"], os.environ.get(setting.metadata["env"], ""))
    settings = options.read_settings(None, {"port": "3", "metrics": False, "max_turns": None})
    assert (settings.port, settings.max_turns, settings.host, settings.page, settings.metrics) == (
        3, 2, "file", False, False)
    # Model clients, and other processes, read the environment.
    assert Settings.load() == settings
    assert os.environ["OPENAI_API_KEY"] == "kept"
    assert os.environ["APPBUILDER_RATE"] == ""


@pytest.mark.usefixtures("run")
def test_another_file_takes_the_place_of_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPBUILDER_PORT", "")
    Path("appbuilder.toml").write_text("rate = 1\n")
    Path("other.toml").write_text("port = 5\n")
    settings = options.read_settings(Path("other.toml"), {})
    assert (settings.port, settings.rate) == (5, 0)


@pytest.mark.parametrize(
    ("file", "arguments", "sentence"),
    [
        ("port = 1\nprot = 2\n", (), "appbuilder.toml: unknown setting 'prot'; did you mean port?"),
        ("port = 'x'\n", (), "port in appbuilder.toml must be a whole number."),
        ("port = \n", (), "appbuilder.toml is not TOML: "),
        ("", ("--config", "missing.toml"), "missing.toml cannot be read: No such file or directory."),
        ("", ("--port", "x"), "--port must be a whole number; it is 'x'."),
        ("", ("--on-disconnect", "x"), "--on-disconnect must be one of cancel, continue; it is 'x'."),
        ("", ("--host", "0.0.0.0"), "On 0.0.0.0 others can reach the service"),
        ("", (), "The file {folder}/app.py does not exist."),
    ],
)
def test_what_is_wrong_is_one_sentence_and_status_2(
    run: CommandLine, tmp_path: Path, file: str, arguments: tuple[str, ...], sentence: str
) -> None:
    Path("appbuilder.toml").write_text(file)
    ended = run("serve", "app.py", *(arguments or ("--port", "0")), APPBUILDER_HOST="")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(sentence.format(folder=tmp_path))
    assert ended.err.count("\n") == 1


def test_a_folder_with_the_name_of_the_file_of_settings_is_told(run: CommandLine) -> None:
    Path("appbuilder.toml").mkdir()
    ended = run("serve", "app.py")
    assert (ended.status, ended.err) == (2, "appbuilder.toml cannot be read: Is a directory.\n")


def test_what_is_served_where() -> None:
    local = announcement("app.py", 8090, Settings(page=True))
    assert "  page  http://127.0.0.1:8090/\n" in local
    assert "curl -N http://127.0.0.1:8090/chat -H 'Content-Type" in local
    everywhere = announcement("app.py", 80, Settings(host="0.0.0.0", page=False, auth="keys"))
    assert everywhere.startswith("app.py is served on http://0.0.0.0:80; Ctrl-C stops it.\n  API ")
    assert 'curl -N http://127.0.0.1:80/chat -H "Authorization: Bearer $APPBUILDER_KEY"' in everywhere


def test_a_first_project_is_written_and_nothing_is_overwritten(run: CommandLine) -> None:
    ended = run("init", "new/agent")
    assert (ended.status, ended.err) == (0, "")
    assert "cd new/agent" in ended.out
    assert sorted(each.name for each in Path("new/agent").iterdir()) == ["README.md", "app.py", "test_app.py"]
    Path("new/agent/app.py").write_text("mine")
    Path("new/agent/README.md").unlink()
    ended = run("init", "new/agent")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("new/agent/app.py and new/agent/test_app.py would be overwritten")
    assert Path("new/agent/app.py").read_text() == "mine"
    assert not Path("new/agent/README.md").exists()
    assert run("init", "new/agent/app.py").err.startswith("new/agent/app.py cannot be written: ")
    assert run("init").status == 0
    assert "    cd '新 项目'\n" in run("init", "新 项目").out
    assert "cd" not in run("init", "here").out.partition("appbuilder serve")[2]


def test_help_has_groups_and_the_most_used_first(run: CommandLine) -> None:
    shown = run("serve", "--help").out
    assert [line for line in shown.splitlines() if line.endswith(":") and line[0] != " "] == [
        "Arguments:", *(f"{title}:" for title in GROUPS), "Options:",
    ]
    assert shown.index("--reload") < shown.index("--host ") < shown.index("--port") < shown.index("--token")
