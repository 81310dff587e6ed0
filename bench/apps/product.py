"""This product. Under gunicorn its ``app``; run as a module ``serve(debug=False)``."""

from __future__ import annotations

import os
from typing import Any

from appbuilder import Component, Message, UserSession
from appbuilder.utils.flask_deploy import FlaskRuntime
from bench.apps import text


class Echo(Component):
    """Answers with what it was asked."""

    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        return Message(message.content)


class Tokens(Component):
    """Answers with a stream of pieces."""

    def run(
        self, message: Message[Any], stream: bool = False, count: int = 1, delay: float = 0.0
    ) -> Message[Any]:
        return Message(text.pieces(count, delay))


class History(Component):
    """Reads two keys of history and appends two messages, as the seed's component does."""

    def run(self, message: Message[str], stream: bool = False) -> Message[str]:
        session = UserSession()
        queries = session.get_history("query", limit=1)
        answers = session.get_history("answer", limit=1)
        last_query = queries[-1].content if queries else "-"
        last_answer = answers[-1].content if answers else "-"
        answer = Message(text.reply(str(message.content), str(last_query), str(last_answer)))
        session.append({"query": message, "answer": answer})
        return answer


COMPONENTS = {"echo": Echo, "tokens": Tokens, "history": History}

runtime = FlaskRuntime(COMPONENTS[os.environ["BENCH_APP"]](), user_session_config="sqlite:///bench.db")

if __name__ == "__main__":
    runtime.serve(host="127.0.0.1", debug=False, port=int(os.environ["BENCH_PORT"]))
else:
    app = runtime.create_flask_app()
