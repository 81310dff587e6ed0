"""What a service that is looked into serves: ``tests.process.apps.observed:agent``.

The message says what to do: ``model``: asks the model openai/gpt-x; ``boom ...``: raises an error with the
message in its text; ``wait``: says a piece and waits for the client to leave; else five pieces.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from appbuilder.components.playground import Playground
from appbuilder.core.component import Component
from appbuilder.core.context import get_context
from appbuilder.core.message import Message

log = logging.getLogger("my.program")


class Observed(Component):
    """See the module."""

    def run(self, message: Message[str], stream: bool = False) -> Message[object]:
        """Does what the message says."""
        log.info("at work")
        if message.content.startswith("model"):
            return Playground("{query}", model="openai/gpt-x").run(message, stream=stream)
        if message.content.startswith("boom"):
            try:
                raise KeyError(message.content)
            except KeyError as error:
                log.exception("it went wrong")
                raise ValueError(f"cannot answer {message.content}") from error
        return Message(self._pieces(wait=message.content == "wait"))

    def _pieces(self, *, wait: bool) -> Iterator[str]:
        yield "0 "
        token = get_context().cancel_token
        while wait:
            token.sleep(10)
            token.raise_if_cancelled()
        yield from (f"{number} " for number in range(1, 5))


agent = Observed()
