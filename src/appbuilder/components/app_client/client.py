"""AppBuilderClient: an application published on AppBuilder, as a component."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from appbuilder.components.app_client.answers import stream_message
from appbuilder.components.app_client.files import file_part, text_part
from appbuilder.components.app_client.handler import AppBuilderEventHandler
from appbuilder.components.app_client.requests import (
    feedback_body,
    require_conversation,
    run_body,
    users_words,
)
from appbuilder.components.app_client.service import AppService
from appbuilder.components.model_component import checked_timeout
from appbuilder.core.component import Component
from appbuilder.core.context import current_context
from appbuilder.core.message import Message
from appbuilder.errors import ConfigurationError, InvalidRequest, ModelUnavailable

_CONVERSATION = "/v2/app/conversation"


class AppBuilderClient(Component):
    """An application published on AppBuilder. To make a client needs no credential and no network.

    :param app_id: the application's id, as its page in the console tells it.
    :param secret_key: credential; default ``APPBUILDER_TOKEN``.
    :param gateway_v2: address of the service; default ``GATEWAY_URL_V2``.
    :param sdk_only: further arguments of :class:`appbuilder.core.component.Component`:
        ``lazy_certification``...
    :raises ConfigurationError: (a ValueError) *app_id* is empty or no text.

    Every call raises, besides its own errors: ModelError if the service cannot be reached, fails, or
    refuses (ModelRejected, with the service's ``code`` and ``request_id``); RateLimited and Unauthenticated;
    ConfigurationError if there is no credential; TurnCancelled if the turn was stopped. A conversation, a
    run, an upload and a feedback are sent once; only a connection that could not be made is tried again.
    """

    def __init__(
        self, app_id: str, secret_key: str | None = None, gateway_v2: str = "", **sdk_only: Any
    ) -> None:
        super().__init__(secret_key=secret_key, **sdk_only)
        if not isinstance(app_id, str) or not app_id:
            raise ConfigurationError("app_id must be the id of an application published on AppBuilder.")
        self.app_id = app_id
        self.gateway_v2 = gateway_v2

    def create_conversation(self) -> str:
        """Begins a conversation; returns its id."""
        told, call_id = self._service().begin(_CONVERSATION, {"app_id": self.app_id})
        return _id_in(told, "conversation_id", call_id)

    def upload_local_file(self, conversation_id: str, local_file_path: str) -> str:
        """Uploads a file for a conversation; see :meth:`upload_file`."""
        return self.upload_file(conversation_id, local_file_path=local_file_path)

    def upload_file(
        self, conversation_id: str, local_file_path: str | None = None, file_url: str | None = None
    ) -> str:
        """Uploads the file at a path, or has the service fetch it from a URL; a path goes first.

        :returns: the file's id, for ``file_ids`` of :meth:`run`.
        :raises InvalidRequest: (a ValueError) neither is given, or the path leads to no file.
        """
        require_conversation(conversation_id)
        if not local_file_path and not file_url:
            raise InvalidRequest("Give local_file_path or file_url.")
        parts = [text_part("app_id", self.app_id), text_part("conversation_id", conversation_id)]
        if not local_file_path:
            return self._upload([*parts, text_part("file_url", str(file_url))], str(file_url))
        with file_part(local_file_path) as part:
            return self._upload([*parts, part], str(local_file_path))

    def upload_named(self, conversation_id: str, path: Path, name: str) -> str:
        """Uploads the file at *path* under another *name*; else as :meth:`upload_file`."""
        require_conversation(conversation_id)
        parts = [text_part("app_id", self.app_id), text_part("conversation_id", conversation_id)]
        with file_part(path, name) as part:
            return self._upload([*parts, part], name)

    def run(  # noqa: PLR0917 - programs give them by position too
        self,
        conversation_id: str,
        query: str = "",
        file_ids: Sequence[str] | None = (),
        stream: bool = False,
        tools: Sequence[Any] | None = None,
        tool_outputs: Sequence[Any] | None = None,
        tool_choice: Any = None,
        end_user_id: str | None = None,
        action: Any = None,
        mcp_authorization: Sequence[Mapping[str, Any]] | None = None,
        parameters: Mapping[str, Any] | None = None,
        custom_metadata: Any = None,
        *,
        timeout: Any = None,
        **_sdk_only: Any,
    ) -> Message[Any]:
        """Asks the application.

        :param conversation_id: what :meth:`create_conversation` returned.
        :param query: the question; may be empty where *tool_outputs* answer the application's own.
        :param file_ids: what :meth:`upload_file` returned.
        :param tools: local functions it may ask for: :class:`~.data.Tool`, a dict of the same members, or a
            tool of the Model Context Protocol.
        :param tool_outputs: their results: :class:`~.data.ToolOutput` or dicts.
        :param tool_choice: which component it must use: :class:`~.data.ToolChoice` or a dict.
        :param end_user_id: who asks, in the program's own words.
        :param action: :class:`~.data.Action` or a dict: the answer to a workflow's question.
        :param mcp_authorization: credentials for tools of the Model Context Protocol.
        :param parameters: what the workflow's first node takes besides the question.
        :param custom_metadata: :class:`~.data.CustomMetadata` or a dict: another role for this run.
        :param timeout: seconds of silence, or (to connect, of silence); default: the settings'.
        :returns: a message whose content is an :class:`~.data.AppBuilderClientAnswer`; with *stream* an
            iterator of them, each given out as it comes, and the whole answer when it has ended.
        :raises InvalidRequest: (a ValueError) an argument is missing or has a wrong form.
        """
        body = run_body(
            self.app_id, conversation_id, query, stream=stream, file_ids=file_ids, tools=tools,
            tool_outputs=tool_outputs, tool_choice=tool_choice, end_user_id=end_user_id, action=action,
            mcp_authorization=mcp_authorization, parameters=parameters, custom_metadata=custom_metadata,
        )  # fmt: skip
        service = self._service(checked_timeout(timeout))
        pieces = service.run(f"{_CONVERSATION}/runs", body, users_words(body))
        if stream:
            return stream_message(pieces)
        (answer,) = pieces
        return Message(answer)

    def feedback(
        self,
        conversation_id: str,
        message_id: str,
        type: str,  # noqa: A002 - the SDK's name
        flag: Sequence[str] | None = None,
        reason: str | None = None,
    ) -> str:
        """Says how good an answer was.

        :param message_id: the answer's ``message_id``.
        :param type: ``upvote``, ``downvote``, or ``cancel`` to take it back.
        :param flag: what is wrong, in the service's own words.
        :returns: the service's id of the call.
        """
        body = feedback_body(self.app_id, conversation_id, message_id, type, flag, reason)
        told, call_id = self._service().begin(f"{_CONVERSATION}/feedback", body, users_words(body))
        return call_id or str(told.get("request_id") or "")

    def run_with_handler(  # noqa: PLR0917
        self,
        conversation_id: str,
        query: str = "",
        file_ids: Sequence[str] | None = (),
        tools: Sequence[Any] | None = None,
        stream: bool = False,
        event_handler: AppBuilderEventHandler | None = None,
        action: Any = None,
        **kwargs: Any,
    ) -> AppBuilderEventHandler:
        """Has *event_handler* run the dialogue: iterate over it, or call ``until_done()``.

        :param kwargs: further arguments of :meth:`run`.
        :raises ConfigurationError: (a ValueError) there is no handler.
        """
        handler = _required(event_handler)
        handler.init(
            appbuilder_client=self, conversation_id=conversation_id, query=query, file_ids=file_ids,
            tools=tools, stream=stream, action=action, **kwargs,
        )  # fmt: skip
        return handler

    def run_multiple_dialog_with_handler(  # noqa: PLR0917
        self,
        conversation_id: str,
        queries: Iterable[str] | None = None,
        file_ids: Iterable[Any] | None = None,
        tools: Iterable[Any] | None = None,
        stream: bool = False,
        event_handler: AppBuilderEventHandler | None = None,
        actions: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Asks one question after another, with the files, tools and action that stand at its place.

        :returns: an iterator as the SDK's: over the first question's answers, then, for each further
            question, the handler, which is to be iterated over in its turn.
        :raises ConfigurationError: (a ValueError, while iterating) there is no handler, or are no questions.
        """
        handler = _required(event_handler)
        if queries is None:
            raise ConfigurationError("run_multiple_dialog_with_handler needs queries=...")
        beside = [iter(() if one is None else one) for one in (file_ids, tools, actions)]
        for number, query in enumerate(queries):
            files, tool, action = (next(one, None) for one in beside)
            if number == 0:
                yield from self.run_with_handler(
                    conversation_id, query, files, tool, stream, handler, action, **kwargs
                )
            else:
                handler.new_dialog(
                    query=query, file_ids=files, tools=tool, action=action, stream=stream, **kwargs
                )
                yield handler
        handler.reset_state()

    def _service(self, timeout: Any = None) -> AppService:
        context = current_context()
        callers = self.lazy_certification and context is not None and context.in_runtime
        return AppService(self.gateway_v2, self.credential, callers_credential=callers, timeout=timeout)

    def _upload(self, parts: list[tuple[str, Any]], words: str) -> str:
        told, call_id = self._service().upload(f"{_CONVERSATION}/file/upload", parts, [words])
        return _id_in(told, "id", call_id)


class AgentBuilder(AppBuilderClient):
    """The old name of :class:`AppBuilderClient`."""


def _id_in(told: Mapping[str, Any], name: str, call_id: str) -> str:
    found = told.get(name)
    if not isinstance(found, str) or not found:
        raise ModelUnavailable(f"AppBuilder's answer has no {name}.", request_id=call_id)
    return found


def _required(handler: AppBuilderEventHandler | None) -> AppBuilderEventHandler:
    if handler is None:
        raise ConfigurationError("Give an event_handler: ToolCallEventHandler, or a class of your own.")
    return handler
