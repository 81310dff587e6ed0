"""Writes docs/settings.md from the table in appbuilder.settings: `make docs`."""

from __future__ import annotations

from dataclasses import Field
from pathlib import Path
from typing import Any

from appbuilder.setting_groups import grouped
from appbuilder.settings import flag, is_switch

PAGE = Path(__file__).with_name("settings.md")
HEAD = """# Settings

Generated from `src/appbuilder/settings.py` by `make docs`; do not edit.

Set a setting by a flag of `appbuilder serve` (`--max-turns 50`, `--page`, `--no-page`), by an environment
variable, or by its name in `appbuilder.toml` in the current folder (`--config` for another file). Flags
override environment variables, which override the file. An empty value means the default.

```toml
# appbuilder.toml
port = 8080
database = "postgresql://chat@db/chat"
page_name = "Assistant"
page_starters = ["What can you do?", "Tell me a joke"]
administrators = ["ann", "bob"]
```

- In the file, settings whose entries are joined in one string may also be lists.
- Programs that create a runtime use environment variables only; they are read when the
  runtime or a model client is created.
- Put credentials into the environment: every user of the machine can see command lines.
- Times are seconds, sizes are bytes.
- An invalid value or an unknown name stops the program with an error.
"""
COLUMNS = """| Name in a file | Flag | Variable | Default | Meaning |
|---|---|---|---|---|
"""


def page() -> str:
    """The page's text."""
    tables = [f"\n## {title}\n\n{COLUMNS}" + "".join(map(_row, group)) for title, group in grouped()]
    return HEAD + "".join(tables)


def _row(setting: Field[Any]) -> str:
    default = f"`{_toml(setting.default)}`" if setting.default not in ("", None) else "–"
    choices = setting.metadata["choices"]
    one_of = f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
    names = f"`{setting.name}` | `{_flags(setting)}` | `{setting.metadata['env']}`"
    help_text = (setting.metadata["help"] + one_of).replace("|", "\\|")
    return f"| {names} | {default} | {help_text} |\n"


def _flags(setting: Field[Any]) -> str:
    positive = flag(setting.name)
    return f"{positive}` `--no-{positive[2:]}" if is_switch(setting.default) else positive


def _toml(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


if __name__ == "__main__":
    PAGE.write_text(page())
