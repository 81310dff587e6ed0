"""This product's chat page: ChainlitRuntime, turns stored on SQLite."""

from __future__ import annotations

import os
from typing import Any

from appbuilder import ChainlitRuntime, Component, Message
from bench.apps import text


class Asked(Component):
    """Answers with a stream of as many pieces as it was asked for."""

    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        return Message(text.asked(str(message.content)))


if __name__ == "__main__":
    runtime = ChainlitRuntime(Asked(), user_session_config="sqlite:///bench.db")
    runtime.chainlit_component(host="127.0.0.1", port=int(os.environ["BENCH_PORT"]))
