"""A chat page for the tests: which component, how it is served and what the page is, as the environment says.

COMPONENT: one of ``COMPONENTS``; PAGE: members of ``Page`` as JSON; DATABASE; PORT. API_PORT: there
POST /chat is served, too. TOOL: query name and further arguments of ``tool_eval`` as JSON, for the debug
page. A puppet is played from STAGE, a port of the test.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from appbuilder import AgentRuntime, Message, Playground, UserSession
from appbuilder.core.component import Component, ComponentOutput
from appbuilder.core.context import get_context
from appbuilder.utils.chainlit_deploy import Page

EXAMPLE = Path(__file__).parents[3] / "examples" / "every_output.py"


class Strings:
    """A puppet's connection to the test, one for each turn: tells what was asked, does as it is told."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", int(os.environ["STAGE"])))
        self._commands = self._socket.makefile("rb")
        # Only what is read ends, so that the test is still told of the close.
        get_context().cancel_token.on_cancel(lambda: self._socket.shutdown(socket.SHUT_RD))
        self._tell(told)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._commands.readline()
        get_context().cancel_token.raise_if_cancelled()
        command, words = json.loads(line) if line else ("end", "")
        if command == "say":
            return str(words)
        if command == "fail":
            raise RuntimeError(words)
        raise StopIteration

    def close(self) -> None:
        self._tell({"closed": True})
        self._commands.close()
        self._socket.close()

    def _tell(self, what: dict[str, Any]) -> None:
        self._socket.sendall(json.dumps(what).encode() + b"\n")


class Puppet(Component):
    """Says what the test makes it say, and remembers."""

    name = "木偶"
    starters = ("你好，介绍一下自己", "What can you do?")

    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        session = UserSession()
        before = {key: [each.content for each in session.get_history(key)] for key in ("query", "answer")}
        answer = Message(Strings({"asks": message.content, "user": get_context().user_id, **before}))
        session.append({"query": message, "answer": answer})
        return answer


    def tool_eval(self, query: str) -> Iterator[ComponentOutput]:
        """Progress, as far as the test says."""
        for done in Strings({"asks": query}):
            yield self.create_output("progress", {"progress": float(done), "step": "查询"})


class Deaf(Component):
    """Runs for as long as the test holds it, in one blocking read that nothing breaks off."""

    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        with socket.create_connection(("127.0.0.1", int(os.environ["STAGE"]))) as line:
            line.sendall(json.dumps({"asks": message.content}).encode() + b"\n")
            answer = json.loads(line.makefile("rb").readline())[1]
        return Message(answer)


class Echo(Component):
    """Says what it hears, and what it heard before."""

    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        session = UserSession()
        heard = [*(each.content for each in session.get_history("query")), message.content]
        answer = Message("、".join(heard))
        session.append({"query": message, "answer": answer})
        return answer


class Asking(Component):
    """Asks a model."""

    def __init__(self) -> None:
        super().__init__()
        self.playground = Playground(prompt_template="请回答：{query}", model=os.environ["MODEL_NAME"])

    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        answer = self.playground.run(message, stream)
        UserSession().append({"query": message, "answer": answer})
        return answer


def every_output() -> Component:
    """The example's component."""
    spec = importlib.util.spec_from_file_location("every_output", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    component: Component = module.EveryOutput()
    return component


COMPONENTS: dict[str, Callable[[], Component]] = {
    "puppet": Puppet, "deaf": Deaf, "echo": Echo, "asking": Asking, "every_output": every_output,
}


def main() -> None:
    """Serves until it is told to stop."""
    runtime = AgentRuntime(
        component=COMPONENTS[os.environ["COMPONENT"]](), user_session_config=os.environ["DATABASE"]
    )
    page = Page(**json.loads(os.environ.get("PAGE", "{}")))
    where = {"host": "127.0.0.1", "port": int(os.environ["PORT"])}
    if "API_PORT" in os.environ:
        api = {"host": "127.0.0.1", "port": int(os.environ["API_PORT"]), "debug": False}
        threading.Thread(target=runtime.serve, kwargs=api, daemon=True).start()
    if "TOOL" in os.environ:
        name, arguments = json.loads(os.environ["TOOL"])
        runtime.chainlit_component_debug(**where, query_name=name, tool_eval_args=arguments, page=page)  # type: ignore[arg-type]
    else:
        runtime.chainlit_component(**where, page=page)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
