"""AppBuilder SDK 1.1.5, in its own environment, where `appbuilder` is another package, without types.

Under gunicorn its ``app``; run as a module ``serve(debug=False)``.
"""
# mypy: ignore-errors

from __future__ import annotations

import os

from appbuilder import AgentRuntime, Message, UserSession
from appbuilder.core.component import Component
from bench.apps import text


class Echo(Component):
    """Answers with what it was asked."""

    def run(self, message, stream=False):
        return Message(message.content)


class Tokens(Component):
    """Answers with a stream of pieces."""

    def run(self, message, stream=False, count=1, delay=0.0):
        return Message(text.pieces(count, delay))


class History(Component):
    """Reads two keys of history and appends two messages, as the seed's component does."""

    def run(self, message, stream=False):
        session = UserSession()
        queries = session.get_history("query", limit=1)
        answers = session.get_history("answer", limit=1)
        # The SDK restores a stored message as the content of another one.
        last_query = queries[-1].content["content"] if queries else "-"
        last_answer = answers[-1].content["content"] if answers else "-"
        answer = Message(text.reply(message.content, last_query, last_answer))
        session.append({"query": message, "answer": answer})
        return answer


COMPONENTS = {"echo": Echo, "tokens": Tokens, "history": History}

runtime = AgentRuntime(
    component=COMPONENTS[os.environ["BENCH_APP"]](), user_session_config="sqlite:///bench.db"
)

if __name__ == "__main__":
    runtime.serve(host="127.0.0.1", debug=False, port=int(os.environ["BENCH_PORT"]))
else:
    app = runtime.create_flask_app()
