"""The seed's program with history, as the document has it, but for the port, which PORT names."""

import logging
import os

import appbuilder
from appbuilder import Message, Playground, QueryRewrite, UserSession
from appbuilder.core.component import Component
from appbuilder.utils.flask_deploy import FlaskRuntime

os.environ["APPBUILDER_TOKEN"] = "..."


class PlaygroundWithHistory(Component):
    def __init__(self):  # type: ignore[no-untyped-def]
        super().__init__()
        self.query_rewrite = QueryRewrite(model="Qianfan-Agent-Speed-8K")
        self.playground = Playground(
            prompt_template="{query}",
            model="ERNIE-Bot"
        )

    def run(self, message: Message, stream: bool = False):  # type: ignore[no-untyped-def, type-arg]
        user_session = UserSession()
        # 获取 Session 历史数据
        history_queries = user_session.get_history("query", limit=1)
        history_answers = user_session.get_history("answer", limit=1)

        # query 改写
        if history_queries and history_answers:
            history = []
            for query, answer in zip(history_queries, history_answers):  # noqa: B905
                history.extend([query.content, answer.content])
            logging.info(f"history: {history}")
            message = self.query_rewrite(
                Message(history + [message.content]), rewrite_type="带机器人回复")  # noqa: RUF005
        logging.info(f"message: {message}")

        # 执行 playground
        answer = self.playground.run(message, stream)

        # 保存本轮数据
        user_session.append({
            "query": message,
            "answer": answer,
        })
        return answer


# component 可以独立运行，session数据会被保存于内存
playground_with_history_component = PlaygroundWithHistory()  # type: ignore[no-untyped-call]
print(playground_with_history_component.run(
    Message("海淀区的面积是多少"), stream=False))

assert appbuilder.UserSession is UserSession
user_session_config = "sqlite:///foo.db"
agent = FlaskRuntime(
    component=playground_with_history_component,
    user_session_config=user_session_config)
print(agent.chat(Message("海淀区的面积是多少"), stream=False))
agent.serve(debug=False, port=int(os.environ["PORT"]))
