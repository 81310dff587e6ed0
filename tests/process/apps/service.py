"""The scripted component as a service on PORT, with its probe on PROBE.

A message is what to do, or JSON of it, or a text, which is echoed. BUDGET: tokens a session may take a day.
WHO=header: the hook of APPBUILDER_AUTH takes the user from X-User; WHO=slow: and takes 25 s.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from tests.process.apps.page import Texted, probe

from appbuilder import Message
from appbuilder.core.context import get_context
from appbuilder.core.message import AnswerMessage
from appbuilder.errors import RateLimited
from appbuilder.runtime.service_runtime import Hooks, ServiceRuntime


class Known(Texted):
    """Knows who asks, and what it costs."""

    def run(self, message: Message[Any], stream: bool = False, flavour: Any = "") -> Any:
        said = message.content
        return super().run(Message(json.dumps(said)) if isinstance(said, dict) else message, stream, flavour)

    def whoami(self, do: Any, mark: str, flavour: Any) -> Any:
        return Message(get_context().user_id)

    def tell(self, do: Any, mark: str, flavour: Any) -> Any:
        return Message(f"{get_context().user_id} said {do['text']}")

    def spend(self, do: Any, mark: str, flavour: Any) -> Any:
        return AnswerMessage("spent", token_usage={"total_tokens": do["tokens"]})


def who(request: Any) -> Any:
    """The user a proxy names; ``ada`` is an administrator."""
    name = request.headers.get("x-user")
    return (name, name == "ada") if name else None


def slow(request: Any) -> Any:
    """As :func:`who`, and takes 25 s."""
    if request.headers.get("x-user"):
        time.sleep(25)
    return who(request)


def within_budget(_identity: Any, _session_id: str, tokens_today: Any) -> None:
    """At most BUDGET tokens per session a day."""
    if tokens_today() >= int(os.environ["BUDGET"]):
        raise RateLimited("This session has used its tokens of today.", retry_after=3600)


if __name__ == "__main__":
    probe()
    hooks = Hooks(
        auth={"header": who, "slow": slow}.get(os.environ.get("WHO", "")),
        turn=within_budget if "BUDGET" in os.environ else None,
    )
    ServiceRuntime(Known(), os.environ["DATABASE"], hooks=hooks).serve(
        host=os.environ.get("SERVE_HOST"), port=int(os.environ["PORT"])
    )
