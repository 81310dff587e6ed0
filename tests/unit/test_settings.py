from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appbuilder.errors import ConfigurationError
from appbuilder.setting_groups import GROUPS
from appbuilder.settings import Settings, is_switch


def test_defaults_stand_where_the_environment_says_nothing() -> None:
    assert Settings.load({}) == Settings()
    assert Settings.load({"APPBUILDER_MAX_TURNS": ""}) == Settings()


def test_values_are_read_by_their_type() -> None:
    settings = Settings.load(
        {"APPBUILDER_MAX_TURNS": "7", "APPBUILDER_HEARTBEAT": "2.5", "APPBUILDER_LOGLEVEL": "debug",
         "GATEWAY_URL": "http://gateway"}
    )
    assert (settings.max_turns, settings.heartbeat) == (7, 2.5)
    assert (settings.loglevel, settings.gateway_url) == ("DEBUG", "http://gateway")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("APPBUILDER_MAX_TURNS", "many", "a whole number"),
        ("APPBUILDER_MAX_TURNS", "1.5", "a whole number"),
        ("APPBUILDER_HEARTBEAT", "-1", "0 or more"),
        ("APPBUILDER_HEARTBEAT", "nan", "0 or more"),
        ("APPBUILDER_ON_DISCONNECT", "maybe", "one of cancel, continue"),
    ],
)
def test_a_bad_value_names_its_variable(name: str, value: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be {sentence}"):
        Settings.load({name: value})


def test_secrets_do_not_show() -> None:
    assert "hush" not in repr(Settings.load({"APPBUILDER_TOKEN": "hush", "OPENAI_API_KEY": "hush"}))


def test_a_flag_goes_before_the_environment_and_that_before_the_file() -> None:
    file = {"max_turns": 1, "port": 1, "host": "file", "page": False}
    environ = {"APPBUILDER_MAX_TURNS": "2", "APPBUILDER_PORT": "2"}
    settings = Settings.load(environ, file=file, flags={"max_turns": "3", "port": None, "history": False})
    assert (settings.max_turns, settings.port, settings.host) == (3, 2, "file")
    assert (settings.page, settings.history, settings.metrics) == (False, False, True)


def test_an_empty_flag_is_the_default_and_an_empty_variable_none() -> None:
    environ, file = {"APPBUILDER_AUTH": "keys", "APPBUILDER_HOST": ""}, {"host": "file"}
    settings = Settings.load(environ, file=file, flags={"auth": ""})
    assert (settings.auth, settings.host) == ("", "file")


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ({"max_turn": 7}, "app.toml: unknown setting 'max_turn'; did you mean max_turns?"),
        ({"database": 7}, "database in app.toml must be a string."),
        ({"max_turns": "7"}, "max_turns in app.toml must be a whole number."),
        ({"max_turns": True}, "max_turns in app.toml must be a whole number; it is 'true'."),
        ({"page": [True]}, "page in app.toml must be true or false."),
        ({"heartbeat": float("nan")}, "heartbeat in app.toml must be 0 or more; it is 'nan'."),
        ({"database": "a\0b"}, "database in app.toml must not contain a NUL character."),
        ({"page_starters": ["a|b"]}, "page_starters in app.toml must not have '|' in an entry."),
    ],
)
def test_a_bad_value_of_a_file_names_both(file: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({}, file=file, file_name="app.toml")
    assert str(caught.value) == sentence


def test_what_depends_on_what_is_installed_may_be_left_open() -> None:
    assert Settings.load({}).page is None
    assert Settings.load({"APPBUILDER_PAGE": ""}, file={"page": True}).page is True
    assert Settings.load({}, flags={"page": False}).page is False
    assert Settings().to_environ()["APPBUILDER_PAGE"] == ""


def test_a_bad_flag_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^--max-turns must be a whole number; it is 'x'"):
        Settings.load({}, flags={"max_turns": "x"})


def _values(default: object, choices: tuple[str, ...]) -> st.SearchStrategy[Any]:
    if choices:
        return st.sampled_from(choices)
    if is_switch(default):
        return st.booleans()
    if isinstance(default, str):
        return st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
    return st.integers(0, 2**70) if isinstance(default, int) else st.floats(0, allow_infinity=False)


_TABLE = {setting.name: _values(setting.default, setting.metadata["choices"]) for setting in fields(Settings)}


@given(st.fixed_dictionaries({}, optional=_TABLE))
def test_what_is_loaded_goes_through_the_environment_unchanged(file: dict[str, Any]) -> None:
    settings = Settings.load({}, file=file)
    assert Settings.load(settings.to_environ()) == settings
    # An inherited variable that a flag has put back to its default must not come through.
    assert set(settings.to_environ()) == {setting.metadata["env"] for setting in fields(Settings)}


def test_each_setting_stands_in_one_group() -> None:
    named = [name for names in GROUPS.values() for name in names]
    assert sorted(named) == sorted(setting.name for setting in fields(Settings)), "setting_groups.GROUPS"


def test_a_file_may_have_lists_where_entries_are_joined() -> None:
    file = {"page_starters": ["Hello, you", "And now?"], "administrators": ["ann", "bob"]}
    settings = Settings.load({}, file=file)
    assert (settings.page_starters, settings.administrators) == ("Hello, you|And now?", "ann,bob")
    for bad in ({"page_name": ["a"]}, {"administrators": [1]}, {"port": [1]}):
        with pytest.raises(ConfigurationError, match="in the file must be a"):
            Settings.load({}, file=bad)
