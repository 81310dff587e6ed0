"""QueryRewrite: makes the last question of a conversation stand on its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, cast

from appbuilder.components.model_component import ModelComponent, checked_parameters
from appbuilder.components.rewrite_cleanup import RewriteTrim
from appbuilder.components.rewrite_prompt import QUERIES_ONLY, WITH_REPLIES, rewrite_messages
from appbuilder.core.message import AnswerMessage, Message
from appbuilder.errors import InvalidRequest
from appbuilder.models.base import ModelParameters
from appbuilder.models.registry import on_gateway
from appbuilder.settings import Settings

MOST_CHARACTERS = 4000
_LENGTHS = (1, 3, 5, 7, 9)
# What stands between the speaker and the text in the SDK's request, as recorded.
_GAP = " " * 39


class QueryRewrite(ModelComponent):
    """Rewrites the last question so that it can be understood without what was said before.

    AppBuilder's gateway holds the prompt for it; for other model servers there is one of our own.

    :param model: ``Qianfan-Agent-Speed-8K``..., ``local``, ``openai/<name>``.
    """

    name = "query_rewrite"
    manifests: ClassVar[list[dict[str, Any]]] = [
        {
            "name": "query_rewrite",
            "description": "多轮改写：结合对话历史补全用户最后一个问题的指代和省略，得到可以独立理解的问题。",
            "parameters": {
                "type": "object",
                "properties": {
                    "query": {"type": "string", "description": "需要改写的问题"},
                    "rewrite_type": {"type": "string", "enum": [WITH_REPLIES, QUERIES_ONLY]},
                },
                "required": ["query"],
            },
        }
    ]

    def run(
        self,
        message: Message[Any],
        rewrite_type: str = WITH_REPLIES,
        stream: bool = False,
        temperature: float = 1e-10,
        top_p: float = 0,
    ) -> AnswerMessage[Any]:
        """Rewrites the last question of *message*.

        :param message: content is a list of 1, 3, 5, 7 or 9 texts (question, answer, ..., question), of at
            most 4000 characters in all. The message is left as it is.
        :param rewrite_type: ``"带机器人回复"``: the answers are looked at too; ``"仅用户查询"``: not.
        :param stream: the answer's content is then an iterator of texts.
        :raises InvalidRequest: (a ValueError) the content or a parameter does not fit.
        :raises ModelError: the model server failed.
        """
        turns = _checked_turns(message)
        _check_type(rewrite_type)
        parameters = checked_parameters(temperature=temperature, top_p=top_p)
        return self._rewrite(_query(turns, rewrite_type), turns, rewrite_type, parameters, stream)

    def tool_eval(
        self, name: str, streaming: bool = False, **kwargs: Any
    ) -> str | Iterator[str]:
        """Answers a tool call.

        :param name: the tool's name; there is one.
        :param kwargs: ``query`` (a text, or a list as for :meth:`run`), and optionally ``rewrite_type`` and
            ``model_configs`` with ``temperature`` and ``top_p``.
        :returns: the rewritten question; with *streaming* an iterator of its pieces.
        :raises InvalidRequest: (a ValueError) ``query`` is missing or does not fit.
        """
        query, rewrite_type = kwargs.get("query"), kwargs.get("rewrite_type", WITH_REPLIES)
        if not query:
            raise InvalidRequest("The argument `query` is required.")
        _check_type(rewrite_type)
        wanted = kwargs.get("model_configs") or {}
        turns = _checked_turns(Message([query] if isinstance(query, str) else query))
        parameters = checked_parameters(
            temperature=wanted.get("temperature", 1e-10), top_p=wanted.get("top_p", 0.0)
        )
        text = query if isinstance(query, str) else _query(turns, rewrite_type)
        answer: Any = self._rewrite(text, turns, rewrite_type, parameters, streaming).content
        return cast("str | Iterator[str]", answer)

    def _rewrite(
        self, query: str, turns: list[str], rewrite_type: str, parameters: ModelParameters, stream: bool
    ) -> AnswerMessage[Any]:
        settings = Settings.load()
        return self._ask(
            {"query": query, "rewrite_type": rewrite_type},
            rewrite_messages(turns, rewrite_type),
            parameters,
            stream=stream,
            settings=settings,
            trim=None if on_gateway(self.model_name, settings) else RewriteTrim(),
        )


def _checked_turns(message: Message[Any]) -> list[str]:
    turns = message.content if message is not None else None
    if not isinstance(turns, (list, tuple)) or not all(isinstance(turn, str) for turn in turns):
        raise InvalidRequest("The message's content must be a list of texts: question, answer, question...")
    if len(turns) not in _LENGTHS:
        raise InvalidRequest(f"The message's content must have 1, 3, 5, 7 or 9 texts; it has {len(turns)}.")
    length = sum(map(len, turns))
    if length > MOST_CHARACTERS:
        raise InvalidRequest(f"The texts have {length} characters; {MOST_CHARACTERS} are allowed.")
    return list(turns)


def _check_type(rewrite_type: Any) -> None:
    if rewrite_type not in (WITH_REPLIES, QUERIES_ONLY):
        raise InvalidRequest(f"rewrite_type must be {WITH_REPLIES!r} or {QUERIES_ONLY!r}.")


def _query(turns: list[str], rewrite_type: str) -> str:
    """The conversation as the gateway's prompt expects it."""
    if rewrite_type == QUERIES_ONLY:
        return "".join(f"User1: {question}\n" for question in turns[::2])
    speakers = ("User:", "Assistant:")
    return "".join(f"{speakers[number % 2]}{_GAP}{turn}\n" for number, turn in enumerate(turns))
