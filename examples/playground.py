"""The seed's first program: a prompt template and a model, as a service.

    APPBUILDER_TOKEN=... python examples/playground.py        # a model of the AppBuilder gateway
    APPBUILDER_MODEL=local python examples/playground.py      # a model on this machine, no key
"""

import appbuilder
from appbuilder.utils.flask_deploy import FlaskRuntime

component = appbuilder.Playground(
    prompt_template="{query}",
    model="eb-4",
)
agent = FlaskRuntime(component=component, user_session_config="sqlite:///foo.db")

if __name__ == "__main__":
    message = appbuilder.Message({"query": "你好"})
    print(agent.chat(message, stream=False))
    agent.serve(debug=False, port=8091)
