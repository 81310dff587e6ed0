"""Writes docs/settings.md from the table in appbuilder.settings: `make docs`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from appbuilder.settings import Settings

PAGE = Path(__file__).with_name("settings.md")
HEAD = """# Settings

Generated from `src/appbuilder/settings.py` by `make docs`; do not edit.

Settings are environment variables, read when a runtime or a model client is made. Times are seconds,
sizes bytes. A value that cannot be read stops the program with a sentence that names the variable.

| Variable | Default | What it does |
|---|---|---|
"""


def page() -> str:
    """The page's text."""
    rows = []
    for setting in fields(Settings):
        default = f"`{setting.default}`" if setting.default != "" else "–"
        choices = setting.metadata["choices"]
        one_of = f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
        rows.append(f"| `{setting.metadata['env']}` | {default} | {setting.metadata['help']}{one_of} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page())
