"""What `make site` adds to the pages in this folder: files of the repository that they link to.

On GitHub the links lead to the files themselves; on the site to a page made of each.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
ICON = "src/appbuilder/serve/page/static/icon.svg"

_INTO_THE_DOCS = re.compile(r"\]\(docs/")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    for source, name in PAGES.items():
        text = _INTO_THE_DOCS.sub("](", (ROOT / source).read_text("utf-8"))
        files.append(File.generated(config, name, content=text))
    examples = sorted((ROOT / "examples").glob("*.py"))
    for path in examples:
        text = f"# {path.name}\n\n```python\n{path.read_text('utf-8')}```\n"
        files.append(File.generated(config, f"examples/{path.stem}.md", content=text))
    index = "".join(f"- [{path.name}](examples/{path.stem}.md): {_about(path)}\n" for path in examples)
    files.append(File.generated(config, "examples.md", content=f"# Examples\n\n{index}"))
    files.append(File.generated(config, "images/icon.svg", content=(ROOT / ICON).read_bytes()))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Points links out of `docs/` to those pages."""
    to_docs = "../" * page.file.src_uri.count("/")
    out_of_docs = re.compile(rf"\]\({re.escape(to_docs)}\.\./([\w./-]*)")
    return out_of_docs.sub(lambda found: f"]({to_docs}{_on_the_site(found[1])}", markdown)


def _on_the_site(path: str) -> str:
    if path.startswith("examples/") and path.endswith(".py"):
        return path.removesuffix(".py") + ".md"
    if path.rstrip("/") == "examples":
        return "examples.md"
    return PAGES.get(path, path)


def _about(example: Path) -> str:
    """The first sentence of its docstring."""
    found = re.match(r'(?:#.*\n)*"""(.+?)(?:\n\n|""")', example.read_text("utf-8"), re.DOTALL)
    return " ".join(found[1].split()) if found else "a program"
