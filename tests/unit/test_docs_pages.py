"""The pages about the Python API and about what goes wrong say what is there."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import appbuilder
from appbuilder import errors, testing

ROOT = Path(__file__).resolve().parents[2]
API = (ROOT / "docs/python-api.md").read_text("utf-8")
TROUBLES = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
NOT_OURS = ("looking at multiple versions", "No matching distribution", "externally-managed-environment")
"""What pip says."""
CALLS = re.findall(r"^### `(\w+)\((.*)\)`$", API, re.MULTILINE)


def found(name: str) -> Any:
    if name == "init_context":
        return import_module("appbuilder.core.context").init_context
    return getattr(appbuilder, name)


def test_every_public_name_is_on_the_page() -> None:
    for name in set(appbuilder.__all__) - {"__version__"}:
        assert f"`{name}" in API, name


@pytest.mark.parametrize(("name", "written"), CALLS, ids=[name for name, _ in CALLS])
def test_a_heading_has_the_parameters_and_their_defaults(name: str, written: str) -> None:
    parameters = inspect.signature(found(name)).parameters.values()
    named = {each.name: each.default for each in parameters if each.kind is not each.VAR_KEYWORD}
    shown = [each.strip() for each in written.split(",")]
    assert [each.partition("=")[0] for each in shown if not each.startswith("**")] == list(named)
    for each in shown:
        parameter, equals, default = each.partition("=")
        if equals and default != "<new>":
            assert ast.literal_eval(default) == named[parameter]


def test_the_programs_of_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {}
    for program in re.findall(r"```python\n(.*?)```", API, re.DOTALL):
        exec(program, namespace)
    shouted, address = capsys.readouterr().out.splitlines()
    assert shouted == "HELLO THERE"
    assert address.startswith("http://127.0.0.1:")


def test_the_errors_and_doubles_named_are_there() -> None:
    for name in re.findall(r"`([A-Z]\w+)`", API.partition("## Errors")[2].partition("## Testing")[0]):
        assert name == "ValueError" or issubclass(getattr(errors, name), errors.AppBuilderError)
    for name in re.findall(r"`([A-Z]\w+)`", API.partition("## Testing")[2]):
        assert name in testing.__all__


def sentences() -> str:
    """All texts of the package's code, with the parts of a formatted one joined."""
    texts = []
    for path in (ROOT / "src/appbuilder").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_what_the_service_says_is_quoted_as_it_says_it() -> None:
    said = sentences()
    quoted = re.findall(r'"([^"]+)"', TROUBLES)
    assert len(quoted) > 10
    for each in quoted:
        assert each in said or each.startswith(NOT_OURS), each
