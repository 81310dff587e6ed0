"""What pyproject.toml promises: Python versions, extras, and that pip has nothing to search for."""

from __future__ import annotations

import contextlib
import re
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
CONSTRAINTS = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
LISTED = {canonicalize_name(name): version for name, version in CONSTRAINTS}


def requirements(extra: str) -> list[Requirement]:
    return [Requirement(each) for each in EXTRAS[extra]]


def pinned(requirement: Requirement) -> str | None:
    versions = [each.version for each in requirement.specifier if each.operator == "=="]
    return versions[0] if versions else None


@cache
def needs(name: str) -> tuple[Requirement, ...]:
    """What an installed package needs without any of its extras."""
    found = [Requirement(each) for each in requires(name) or []]
    return tuple(each for each in found if each.marker is None or each.marker.evaluate({"extra": ""}))


def closure(names: set[str]) -> set[str]:
    """*names* and all that they bring, as far as it is installed here."""
    seen: set[str] = set()
    while names:
        name = canonicalize_name(names.pop())
        if name not in seen:
            seen.add(name)
            with contextlib.suppress(PackageNotFoundError):
                names |= {each.name for each in needs(name)}
    return seen


def test_the_python_versions_agree() -> None:
    classifiers = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    assert classifiers == ["3.11", "3.12", "3.13", "3.14"]
    assert PROJECT["requires-python"] == f">={classifiers[0]}"
    for page in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "docs/start.md"):
        text = (ROOT / page).read_text("utf-8")
        assert {classifiers[0], classifiers[-1]} <= set(re.findall(r"3\.1\d", text)), page


def test_the_service_is_its_api_and_the_page() -> None:
    assert EXTRAS["serve"] == ["appbuilder-runtime[api,chainlit]"]
    api = closure({each.name for each in requirements("api")} | {Requirement(each).name for each in
                                                                PROJECT["dependencies"]})
    assert not {"chainlit", "literalai", "traceloop-sdk", "fastapi"} & api
    assert len(api) <= 60


def test_pins_are_the_versions_the_suite_runs_with() -> None:
    pins = {each.name: pinned(each) for each in requirements("chainlit") if pinned(each)}
    assert pins
    assert pins == {name: LISTED[canonicalize_name(name)] for name in pins}


def test_what_fits_exactly_one_release_of_another_is_pinned() -> None:
    """Of what Chainlit brings; of a package that is not pinned pip would try one release after the other."""
    brought = [each.name for each in needs("traceloop-sdk") if each.name.startswith("opentelemetry-")]
    exact = {name for name in brought if any(pinned(each) for each in needs(name))}
    assert {"opentelemetry-sdk", "opentelemetry-instrumentation-redis"} <= exact
    assert exact <= {each.name for each in requirements("chainlit") if pinned(each)}


def test_a_package_s_description_links_to_nothing_that_is_not_there() -> None:
    hook = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["metadata"]["hooks"]
    text = (ROOT / "README.md").read_text("utf-8")
    for each in hook["fancy-pypi-readme"]["substitutions"]:
        flags = re.MULTILINE if "MULTILINE" in each.get("flags", []) else 0
        text = re.sub(each["pattern"], each["replacement"], text, flags=flags)
    assert re.findall(r"\]\((?!https?://)[^)]*\)", text) == []
    assert "![" not in text
    assert "docs/auth.md" in text


@pytest.mark.parametrize("words", ["chat page", "OpenAI"])
def test_the_summary_names_what_is_served(words: str) -> None:
    assert words in PROJECT["description"]
    assert len(PROJECT["description"]) <= 512
