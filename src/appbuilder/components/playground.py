"""Playground: a prompt template, filled and given to a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appbuilder.components.model_component import ModelComponent, checked_parameters
from appbuilder.components.prompt_template import Template
from appbuilder.core.message import AnswerMessage, Message
from appbuilder.errors import InvalidRequest
from appbuilder.settings import Settings


class Playground(ModelComponent):
    """Fills a prompt template with the message and lets the model answer it.

    :param prompt_template: text with holes ``{name}``; see :mod:`appbuilder.components.prompt_template`.
    :param model: ``eb-4``, ``ERNIE-Bot``..., ``local``, ``openai/<name>``.

    ``variable_names`` lists the template's variables.
    """

    name = "playground"

    def __init__(
        self,
        prompt_template: str | None = "{query}",
        model: str | None = None,
        secret_key: str | None = None,
        gateway: str = "",
        lazy_certification: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, secret_key, gateway, lazy_certification, **kwargs)
        self._template = Template("{query}" if prompt_template is None else prompt_template)
        self.prompt_template = self._template.text
        self.variable_names = self._template.names

    def run(  # noqa: PLR0917 - the SDK's arguments
        self,
        message: Message[Any],
        stream: bool = False,
        temperature: float = 1e-10,
        top_p: float = 0.0,
        max_output_tokens: int = 1024,
        disable_search: bool = True,
        response_format: str = "text",
        stop: list[str] = [],  # noqa: B006 - the contract's default; never changed
        **kwargs: Any,
    ) -> AnswerMessage[Any]:
        """Answers *message*.

        :param message: content is a dict that gives the variables by name, or a text for the only one. The
            message is left as it is.
        :param stream: the answer's content is then an iterator of texts; when it has ended ``content`` is the
            whole text, and ``token_usage`` and ``extra`` are filled.
        :param temperature: 0 to 2, higher is more varied; *top_p*: 0 to 1, likewise.
        :param max_output_tokens: at most that many tokens are written.
        :param disable_search: the gateway's model may not search the web.
        :param response_format: ``"text"`` or ``"json_object"``.
        :param stop: at most 4 texts that end the answer.
        :param kwargs: ``request_id`` (of the gateway's call) and ``timeout`` (seconds of silence, or (to
            connect, of silence)); all others are passed on to the model.
        :raises InvalidRequest: (a ValueError) a variable is missing or a parameter does not fit.
        :raises ModelError: the model server failed.
        """
        request_id, timeout = kwargs.pop("request_id", None), kwargs.pop("timeout", None)
        kwargs.pop("retry", None)  # without effect in the SDK too; see APPBUILDER_MODEL_RETRIES
        parameters = checked_parameters(
            temperature=temperature,
            top_p=top_p,
            max_output_tokens=max_output_tokens,
            disable_search=disable_search,
            response_format=response_format,
            stop=stop,
            further=kwargs,
        )
        query = self._template.fill(self._values(message))
        return self._ask(
            {"query": query},
            [{"role": "user", "content": query}],
            parameters,
            stream=stream,
            settings=Settings.load(),
            request_id=request_id,
            timeout=timeout,
        )

    def _values(self, message: Message[Any]) -> Mapping[str, Any]:
        content = message.content
        if isinstance(content, dict):
            return content
        if isinstance(content, str):
            return {self.variable_names[0]: content} if len(self.variable_names) == 1 else {}
        if self.variable_names:
            raise InvalidRequest(
                f"Missing input variable {self.variable_names[0]}: the message's content must be a text or "
                f"an object, not {type(content).__name__}."
            )
        return {}
