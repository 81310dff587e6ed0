from __future__ import annotations

import pytest

from appbuilder.errors import ConfigurationError
from appbuilder.settings import Settings


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
