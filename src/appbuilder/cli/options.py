"""Settings on the command line: flags, environment and file."""

from __future__ import annotations

import functools
import inspect
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import Field
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from appbuilder.errors import ConfigurationError
from appbuilder.setting_groups import grouped
from appbuilder.settings import Settings, flag, is_switch

FILE = "appbuilder.toml"
"""Settings by name, looked for in the current folder."""

EPILOG = (
    "Each setting is also an environment variable and a name in the file: docs/settings.md. "
    "Flags override environment variables, which override the file."
)


class GroupedCommand(TyperCommand):
    """A verb whose help groups the options by their panels."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes arguments and options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                option = "Arguments" if parameter.param_type_name == "argument" else "Options"
                title = getattr(parameter, "rich_help_panel", None) or option
                sections.setdefault(title, []).append(record)
        sections["Options"] = sections.pop("Options")  # --help stands at the end
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """For a verb with a parameter ``settings``: adds ``--config`` and a flag for each setting.

    :param names: the settings that get a flag; none: all. The others are read from environment and file.
    """
    chosen = [(title, setting) for title, group in grouped() for setting in group
              if not names or setting.name in names]

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(verb)
        def run(*, config: Path | None, **given: Any) -> None:
            flags = {setting.name: given.pop(setting.name) for _, setting in chosen}
            verb(**given, settings=read_settings(config, flags))

        own = inspect.signature(verb, eval_str=True)
        kept = [each for each in own.parameters.values() if each.name != "settings"]
        added = [_config(), *(_parameter(setting, title) for title, setting in chosen)]
        # What typer reads; the annotations of the wrapped function would name other parameters.
        run.__signature__ = own.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {}
        return run

    return decorate


def read_settings(config: Path | None, flags: Mapping[str, str | bool | None]) -> Settings:
    """The settings of flags, environment and file; the program's own environment has them afterwards.

    Model clients, and further processes, read them there.

    :raises ConfigurationError: a value, a name or the file is wrong.
    """
    settings = Settings.load(file=_read(config), flags=flags, file_name=str(config or FILE))
    plain = Settings().to_environ()
    os.environ.update(
        {name: text for name, text in settings.to_environ().items()
         if (os.environ.get(name) or plain[name]) != text}
    )
    return settings


def _read(config: Path | None) -> Mapping[str, object]:
    path = config or Path(FILE)
    if config is None and not os.path.exists(path):
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}.") from None


def _config() -> Parameter:
    option = typer.Option("--config", help=f"Settings file; default: {FILE}, if it exists.",
                          metavar="FILE", show_default=False)
    return _added("config", Annotated[Path | None, option])


def _parameter(setting: Field[Any], title: str) -> Parameter:
    default, choices = setting.default, setting.metadata["choices"]
    positive, help_text = flag(setting.name), setting.metadata["help"]
    kinds = {int: "NUMBER", float: "NUMBER", str: "|".join(choices) or "TEXT"}
    switch = is_switch(default)
    option = typer.Option(
        f"{positive}/--no-{positive[2:]}" if switch else positive,
        metavar=kinds.get(type(default)),
        help=help_text,
        show_default=False if default in ("", None) else str(default).lower() if switch else str(default),
        rich_help_panel=title,
    )
    return _added(setting.name, Annotated[bool | None if switch else str | None, option])


def _added(name: str, annotation: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
