"""A service whose component tells what it was asked, on PORT, with its probe on PROBE.

A message that is JSON for :class:`tests.process.apps.scripted.Scripted` is done, as is
``{"do": "finish", "why": ...}``, which says why its model stopped; of any other the answer is JSON: what was
said, what was said before in this session, the arguments, and who asks. With AUTH=hook the key is the name
of the user who asks; ``root`` is an administrator.
"""

from __future__ import annotations

import json
import os
from typing import Any

from tests.process.apps import scripted
from tests.process.apps.page import probe

from appbuilder import Message, UserSession
from appbuilder.core.context import get_context
from appbuilder.core.message import AnswerMessage
from appbuilder.runtime.service_runtime import Hooks, ServiceRuntime

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


class Talking(scripted.Scripted):
    """See the module."""

    def run(
        self,
        message: Message[Any],
        stream: bool = False,
        temperature: Any = None,
        max_output_tokens: Any = None,
        messages: Any = None,
        system: Any = None,
    ) -> Any:
        said = message.content
        if isinstance(said, str) and said.startswith('{"do"'):
            asked = json.loads(said)
            if asked["do"] == "finish":
                return AnswerMessage("begun", extra={"finish_reason": asked["why"]}, token_usage=USAGE)
            return super().run(Message(asked), stream)
        scripted.calls[""] += 1
        session, context = UserSession(), get_context()
        before = [old.content for old in session.get_history("said", limit=100)]
        session.append({"said": message})
        told = {"said": said, "before": before, "temperature": temperature, "messages": messages,
                "max_output_tokens": max_output_tokens, "system": system, "user": context.user_id}
        text = json.dumps(told, ensure_ascii=False)
        pieces = (text[at : at + 20] for at in range(0, len(text), 20))
        return AnswerMessage(pieces, token_usage=USAGE)


def who(request: Any) -> Any:
    """The user whose name is the key."""
    name = request.headers.get("authorization", "").removeprefix("Bearer ")
    return (name, name == "root") if name else None


if __name__ == "__main__":
    probe()
    hooks = Hooks(auth=who) if os.environ.get("APPBUILDER_AUTH") else Hooks()
    ServiceRuntime(Talking(), os.environ["DATABASE"], hooks=hooks).serve(port=int(os.environ["PORT"]))
