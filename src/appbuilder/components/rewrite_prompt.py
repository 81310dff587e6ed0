"""The prompt that makes a chat model rewrite the last question of a conversation so that it stands alone.

For model servers that do not hold the AppBuilder gateway's own prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

WITH_REPLIES = "带机器人回复"
QUERIES_ONLY = "仅用户查询"

_INSTRUCTION = (
    "你是一个问题改写助手。根据搜索历史，把用户最后一句话改写成一个不看历史也能看懂的完整问题："
    "补全省略的主语和谓语，把代词换成它指的内容。不要改变原意，不要回答问题，只输出改写后的一句话。"
    "如果最后一句话已经完整，就原样输出。"
)
_EXAMPLES = (
    (("今天上午你干嘛了", "去打篮球啦", "好玩吗？"), "打篮球好玩吗？"),
    (("红楼梦的作者是谁", "曹雪芹", "西游记呢"), "西游记的作者是谁"),
    (("苹果多少钱一斤", "5元一斤", "香蕉呢"), "香蕉多少钱一斤"),
    (("怎么办理护照", "可以到出入境管理局办理", "需要带什么材料"), "办理护照需要带什么材料"),
    (("上海明天天气怎么样", "晴，最高25度", "帮我写一首关于春天的诗"), "帮我写一首关于春天的诗"),
)


def rewrite_messages(turns: Sequence[str], rewrite_type: str) -> list[dict[str, str]]:
    """The messages for a chat model.

    :param turns: question, answer, ..., question.
    :param rewrite_type: ``"带机器人回复"`` uses the answers, ``"仅用户查询"`` the questions alone.
    """
    messages = [{"role": "system", "content": _INSTRUCTION}]
    for history, rewritten in _EXAMPLES:
        messages.append({"role": "user", "content": _ask(history, rewrite_type)})
        messages.append({"role": "assistant", "content": rewritten})
    messages.append({"role": "user", "content": _ask(turns, rewrite_type)})
    return messages


def _ask(turns: Sequence[str], rewrite_type: str) -> str:
    *history, last = turns
    if rewrite_type == QUERIES_ONLY:
        lines = [f"User：{question}" for question in history[::2]]
    else:
        lines = [f"{'Assistant' if number % 2 else 'User'}：{turn}" for number, turn in enumerate(history)]
    return "\n".join(["搜索历史：", *lines, f"最后一句话：{last}", "改写后的问题："])
