"""The seed's program with history (examples/), served as its document does, but for the port, PORT."""

import os
import sys
from pathlib import Path

import appbuilder
from appbuilder import Message, UserSession
from appbuilder.utils.flask_deploy import FlaskRuntime

sys.path.insert(0, str(Path(__file__).parents[3] / "examples"))
from playground_with_history import PlaygroundWithHistory  # type: ignore[import-not-found]

os.environ["APPBUILDER_TOKEN"] = "..."

# component 可以独立运行，session数据会被保存于内存
playground_with_history_component = PlaygroundWithHistory()
print(playground_with_history_component.run(
    Message("海淀区的面积是多少"), stream=False))

assert appbuilder.UserSession is UserSession
user_session_config = "sqlite:///foo.db"
agent = FlaskRuntime(
    component=playground_with_history_component,
    user_session_config=user_session_config)
print(agent.chat(Message("海淀区的面积是多少"), stream=False))
agent.serve(debug=False, port=int(os.environ["PORT"]))
