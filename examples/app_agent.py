"""An application published on AppBuilder, as an API and behind a chat page.

APPBUILDER_TOKEN is the credential, APP_ID the application's id: both are shown in AppBuilder's console.
"""

import os
import threading

from appbuilder import AgentRuntime, AppBuilderClient

HOST = os.environ.get("HOST", "127.0.0.1")
API_PORT, PAGE_PORT = int(os.environ.get("API_PORT", "8091")), int(os.environ.get("PAGE_PORT", "8092"))
TRY = f"""
The chat page:  http://{HOST}:{PAGE_PORT}
The API:        http://{HOST}:{API_PORT}/chat      (Ctrl-C stops both)

Each session has a conversation of its own with the application, here and on the page:

  curl -N http://{HOST}:{API_PORT}/chat -H 'Content-Type: application/json' \\
    -d '{{"message": "你能做什么", "stream": true, "session_id": "me"}}'
"""

if __name__ == "__main__":
    client = AppBuilderClient(os.environ["APP_ID"])
    agent = AgentRuntime(component=client, user_session_config="sqlite:///app_agent.db")
    print(TRY, flush=True)
    api = {"host": HOST, "port": API_PORT, "debug": False}
    threading.Thread(target=agent.serve, kwargs=api, daemon=True).start()
    agent.chainlit_agent(host=HOST, port=PAGE_PORT)
