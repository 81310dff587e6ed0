"""Whether a service has the chat page: as it was asked for, else where Chainlit is installed."""

from __future__ import annotations

import sys

import pytest

from appbuilder import ServiceRuntime
from appbuilder.errors import ConfigurationError
from appbuilder.serve.page.chainlit_setup import with_page
from appbuilder.serve.page.page_options import Page
from appbuilder.settings import Settings


@pytest.fixture
def without_chainlit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "chainlit", None)


@pytest.mark.parametrize(("asked", "has_page"), [(None, True), (True, True), (False, False)])
@pytest.mark.parametrize("needed", [True, False])
def test_where_it_is_installed_only_no_is_no(asked: bool | None, needed: bool, has_page: bool) -> None:
    assert with_page(Settings(page=asked), needed=needed).page is has_page


@pytest.mark.usefixtures("without_chainlit")
@pytest.mark.parametrize(("asked", "needed"), [(None, False), (False, False), (False, True)])
def test_where_it_is_not_there_is_none(asked: bool | None, needed: bool) -> None:
    assert with_page(Settings(page=asked), needed=needed).page is False


@pytest.mark.usefixtures("without_chainlit")
@pytest.mark.parametrize(("asked", "needed"), [(True, False), (True, True), (None, True)])
def test_one_that_was_asked_for_is_an_error_there(asked: bool | None, needed: bool) -> None:
    with pytest.raises(ConfigurationError, match=r"needs Chainlit: pip install .*\[serve\]"):
        with_page(Settings(page=asked), needed=needed)


@pytest.mark.usefixtures("without_chainlit")
def test_a_program_that_says_how_its_page_looks_has_asked_for_it() -> None:
    with pytest.raises(ConfigurationError, match="needs Chainlit"):
        ServiceRuntime(lambda message: message, "sqlite://", page=Page())
    runtime = ServiceRuntime(lambda message: message, "sqlite://", page=Page(), settings=Settings(page=False))
    assert runtime.settings.page is False


def test_python_3_14_has_no_chainlit(monkeypatch: pytest.MonkeyPatch, without_chainlit: None) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    with pytest.raises(ConfigurationError, match=r"^The chat page needs Chainlit, which needs Python 3.13"):
        with_page(Settings(page=True))
