"""What the page's script is notified of the page and of its reader."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from appbuilder.serve.auth.request_info import Identity, RequestInfo
from appbuilder.serve.auth.signed_cookies import LocalPageAuth
from appbuilder.serve.page.page_options import Page
from appbuilder.serve.page.page_requests import MOST_FILES
from appbuilder.serve.page.page_texts import text

Links = Callable[[Identity], Sequence[tuple[str, str]]]
"""Addresses this reader may use besides the page, and the names of their words in :mod:`texts`."""

_WORDS = (
    "input", "send", "stop", "new_chat", "sidebar", "search", "theme", "account", "attach", "good", "bad",
    "comment", "copy", "newest", "options", "answering", "too_long", "no_files", "too_many_files",
    "conversations", "remove_file",
)  # fmt: skip


class ScriptData:
    """The facts of one page.

    :param limit: bytes of a message as JSON.
    :param languages: those Chainlit's page has words in.
    """

    def __init__(
        self, page: Page, gate: LocalPageAuth, *, limit: int, links: Links | None, languages: Collection[str]
    ) -> None:
        self._page = page
        self._gate = gate
        self._limit = limit
        self._links = links
        self._languages = frozenset(each.lower().partition("-")[0] for each in languages)

    def language(self, asked: str) -> str:
        """The language of the page's words for a reader who asked for this one."""
        return asked if asked.lower().partition("-")[0] in self._languages else "en"

    def of(self, identity: Identity | None, request_info: RequestInfo, language: str) -> Mapping[str, Any]:
        """What the script receives."""
        links = [] if identity is None or self._links is None else self._links(identity)
        return {
            "name": self._page.name,
            "sentence": self._page.description or text("welcome", language),
            "limit": self._limit,
            "uploads": self._page.uploads,
            "files": MOST_FILES,
            "signedIn": self._gate.has_login and bool(self._gate.login_of(request_info)),
            "links": [(address, text(words, language)) for address, words in links],
            "texts": {name: text(name, language) for name in _WORDS},
        }
