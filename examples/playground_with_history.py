"""The seed's second program: a component that remembers, from QueryRewrite and Playground.

    APPBUILDER_TOKEN=... python examples/playground_with_history.py     # models of the AppBuilder gateway
    APPBUILDER_MODEL=local python examples/playground_with_history.py   # a model on this machine, no key
"""

import logging

from appbuilder import (
    UserSession, Message, QueryRewrite, Playground,
)
from appbuilder.core.component import Component
from appbuilder.utils.flask_deploy import FlaskRuntime


class PlaygroundWithHistory(Component):
    def __init__(self):
        super().__init__()
        self.query_rewrite = QueryRewrite(model="Qianfan-Agent-Speed-8K")
        self.playground = Playground(
            prompt_template="{query}",
            model="ERNIE-Bot"
        )

    def run(self, message: Message, stream: bool=False):
        user_session = UserSession()
        # 获取 Session 历史数据
        history_queries = user_session.get_history("query", limit=1)
        history_answers = user_session.get_history("answer", limit=1)

        # query 改写
        if history_queries and history_answers:
            history = []
            for query, answer in zip(history_queries, history_answers):
                history.extend([query.content, answer.content])
            logging.info(f"history: {history}")
            message = self.query_rewrite(
                Message(history + [message.content]), rewrite_type="带机器人回复")
        logging.info(f"message: {message}")

        # 执行 playground
        answer = self.playground.run(message, stream)

        # 保存本轮数据
        user_session.append({
            "query": message,
            "answer": answer,
        })
        return answer


if __name__ == "__main__":
    playground_with_history_component = PlaygroundWithHistory()
    # component 可以独立运行，session数据会被保存于内存
    print(playground_with_history_component.run(Message("海淀区的面积是多少"), stream=False))

    # 服务化之后，会话数据会被存储于数据库
    user_session_config = "sqlite:///foo.db"
    agent = FlaskRuntime(
        component=playground_with_history_component,
        user_session_config=user_session_config)
    agent.serve(debug=False, port=8091)
