"""The house: floors, circles, what an import costs, the public face, documented settings."""

from __future__ import annotations

import ast
import importlib.util
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import appbuilder
from appbuilder.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "appbuilder"

# A module belongs to the longest of these names it starts with (docs/architecture.md draws the same).
FLOORS = {
    "appbuilder": 0,
    "appbuilder.core": 1,
    "appbuilder.models": 2,
    "appbuilder.store": 2,
    "appbuilder.components": 3,
    "appbuilder.engine": 3,
    "appbuilder.adapters": 4,
    "appbuilder.protocols": 4,
    "appbuilder.serve": 5,
    "appbuilder.runtime": 6,
    # The SDK's names of modules, over what stands below.
    "appbuilder.core.agent": 7,
    "appbuilder.core.console": 7,
    "appbuilder.core.user_session": 7,
    "appbuilder.core.session_message": 7,
    "appbuilder.utils": 7,
    "appbuilder.cli": 8,
}
APART = [
    ("appbuilder.models", "appbuilder.store"),
    ("appbuilder.components", "appbuilder.engine"),
    ("appbuilder.adapters", "appbuilder.protocols"),
]


def modules() -> dict[str, Path]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = ["appbuilder", *path.relative_to(SOURCE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def floor(module: str) -> int | None:
    if module.startswith("appbuilder.testing"):
        return None
    names = [name for name in FLOORS if module == name or module.startswith(name + ".")]
    return FLOORS[max(names, key=len)]


def imports(module: str) -> Iterator[str]:
    """The modules that *module* imports, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def inner_imports(module: str) -> set[str]:
    own = {module, "appbuilder"}
    return {name for name in imports(module) if name in MODULES} - own


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down(module: str) -> None:
    own = floor(module)
    if own is None or module == "appbuilder":  # the doubles stand beside the house; the face is lazy
        return
    for imported in inner_imports(module):
        other = floor(imported)
        assert other is not None, f"{module} imports a double: {imported}"
        assert other <= own, f"{module} (floor {own}) imports {imported} (floor {other})"
        for one, two in APART:
            rooms = {one, two}
            assert {r for r in rooms if module.startswith(r) or imported.startswith(r)} != rooms, (
                f"{module} and {imported} are rooms of one floor"
            )


def test_no_import_circle() -> None:
    graph = {module: inner_imports(module) for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for imported in graph[module]:
                visit(imported, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_transports_never_touch_a_component() -> None:
    for module in MODULES:
        if module.startswith("appbuilder.serve"):
            touched = {name for name in inner_imports(module) if "component" in name or "driver" in name}
            assert not touched, f"{module} imports {touched}"


def test_only_one_module_holds_a_context_variable() -> None:
    holders = [name for name, path in MODULES.items() if "ContextVar(" in path.read_text()]
    assert holders == ["appbuilder.core.context"]


@pytest.mark.parametrize(
    ("what", "home"),
    [
        (r"\btime\.time\(", None),
        (r"datetime\.(now|utcnow|today)\(", "appbuilder.clock"),
        (r"\buuid[147]\(", "appbuilder.ids"),
        (r"environ.*(APPBUILDER|OPENAI|GATEWAY)", "appbuilder.settings"),
        (r"logging\.getLogger\(", "appbuilder.logs"),
    ],
)
def test_time_ids_settings_and_logging_have_one_home(what: str, home: str | None) -> None:
    users = {module for module, path in MODULES.items()
             if re.search(what, path.read_text()) and not module.startswith("appbuilder.testing")}
    assert users <= {home}


def loaded_after(code: str) -> set[str]:
    script = f"import sys; before = set(sys.modules); {code}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_import_appbuilder_loads_the_standard_library_only() -> None:
    assert loaded_after("import appbuilder") <= {*sys.stdlib_module_names, "appbuilder"}


def test_the_core_names_load_no_server_database_or_model() -> None:
    loaded = loaded_after("from appbuilder import Message, Component, UserSession")
    assert not loaded & {"flask", "werkzeug", "sqlalchemy", "openai", "httpx", "httpx2", "requests",
                         "xllamacpp", "gunicorn"}


def test_every_public_name_resolves_and_is_counted() -> None:
    for name in appbuilder.__all__:
        assert getattr(appbuilder, name) is not None
    assert set(appbuilder.__all__) == {
        "AgentBuilder", "AgentRuntime", "AppBuilderClient", "ChainlitRuntime", "Component", "FlaskRuntime",
        "Message", "Playground", "QueryRewrite", "ServiceRuntime", "UserSession", "__version__",
        "describe_app", "describe_apps", "get_all_apps", "get_app_list",
    }
    assert set(appbuilder.__all__) <= set(dir(appbuilder))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = appbuilder.Nothing


def test_the_public_names_are_the_same_objects_as_in_their_modules() -> None:
    from appbuilder.core.component import Component
    from appbuilder.core.message import Message
    from appbuilder.core.user_session import UserSession

    assert (appbuilder.Component, appbuilder.Message, appbuilder.UserSession) == (
        Component, Message, UserSession)


def test_every_setting_has_help_and_stands_in_the_docs() -> None:
    for setting in fields(Settings):
        assert setting.metadata["help"].endswith("."), setting.name
    spec = importlib.util.spec_from_file_location("generate_settings", ROOT / "docs" / "generate_settings.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.PAGE.read_text() == generator.page(), "run: make docs"


KERNEL = (
    "errors", "settings", "setting_groups", "logs", "log_format", "telemetry", "tracing", "ids", "clock",
    "jsontext", "long_json", "fork_safe", "cooperation", "events", "core", "engine", "store/sessions",
    "store/databases", "protocols/chat", "protocols/body", "protocols/sse", "protocols/errors", "serve/http",
    "serve/server",
)
MOST_KERNEL_LINES = 15_500
"""The goal is 12,000. Only to be lowered."""
MOST_LINES = 450
"""Of a module."""


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_the_kernel_stays_small() -> None:
    total = 0
    for part in (SOURCE / name for name in KERNEL):
        total += sum(map(lines_of, part.rglob("*.py") if part.is_dir() else [part.with_suffix(".py")]))
    assert MOST_KERNEL_LINES - 500 < total <= MOST_KERNEL_LINES, f"{total} lines: lower the limit with them"


def test_no_module_is_long() -> None:
    long = {str(path.relative_to(SOURCE)): lines_of(path) for path in MODULES.values()}
    assert {name: count for name, count in long.items() if count > MOST_LINES} == {}


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines without the docstring, which says more of what is public."""
    first = function.body[0]
    has_docstring = ast.get_docstring(function) is not None and first.end_lineno is not None
    docstring = first.end_lineno - first.lineno + 1 if has_docstring and first.end_lineno else 0
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1 - docstring


def test_functions_are_short() -> None:
    lengths = sorted(
        length(node)
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )
    assert statistics.median(lengths) <= 5
    assert lengths[len(lengths) * 9 // 10] <= 16
