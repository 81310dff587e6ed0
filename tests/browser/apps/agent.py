"""A chat page for an application: its service is GATEWAY_URL_V2, a double of the test.

CHOICE: the runtime's ``tool_choice`` as JSON; DATABASE; PORT.
"""

from __future__ import annotations

import json
import os

from appbuilder import AppBuilderClient, ChainlitRuntime

if __name__ == "__main__":
    ChainlitRuntime(
        component=AppBuilderClient("app-1"),
        user_session_config=os.environ["DATABASE"],
        tool_choice=json.loads(os.environ["CHOICE"]),
    ).chainlit_agent(host="127.0.0.1", port=int(os.environ["PORT"]))
