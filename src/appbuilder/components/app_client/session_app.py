"""An application as a component that a runtime can serve: one conversation of the service per session."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from appbuilder.components.app_client.client import AppBuilderClient
from appbuilder.components.app_client.event_steps import StepRecorder
from appbuilder.components.app_client.schemas import Action, AppBuilderClientAnswer, Event
from appbuilder.core.context import SessionContext, get_context
from appbuilder.core.message import AnswerMessage, Message
from appbuilder.core.store import RESERVED_PREFIX, SessionStore
from appbuilder.errors import InvalidRequest, ModelRejected

KEY = RESERVED_PREFIX + "app"
"""Of the rows that hold a session's conversation."""
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


class SessionApp:
    """Answers messages with what an application says.

    The conversation is begun in the session's first turn and remembered with what the session holds. If a
    workflow stops and asks, the session's next message is the answer. The question waits until the service
    has begun to go on from there: a turn that failed leaves it, and if no reader waits for an answer any
    more the message is asked as any other.

    :param tool_choice: the component that it must use; a request may say another.
    :param store: where a session that a program drives by hand is remembered.
    """

    def __init__(
        self, client: AppBuilderClient, tool_choice: Any = None, store: SessionStore | None = None
    ) -> None:
        self.client = client
        self._tool_choice = tool_choice
        self._store = store

    def run(
        self,
        message: Message[Any],
        stream: bool = False,
        *,
        file_ids: Sequence[str] = (),
        tools: Sequence[Any] | None = None,
        tool_outputs: Sequence[Any] | None = None,
        tool_choice: Any = None,
        end_user_id: str | None = None,
        action: Any = None,
        mcp_authorization: Sequence[Mapping[str, Any]] | None = None,
        parameters: Mapping[str, Any] | None = None,
        custom_metadata: Any = None,
    ) -> Message[Any]:
        """The application's answer as text; ``extra`` has its events, the service's ids and, where a workflow
        asks, ``interrupt_event_id``; ``token_usage`` is the sum of all events'.

        :param message: the question, a text; empty where *tool_outputs* are sent.

        The others are :meth:`AppBuilderClient.run`'s.
        """
        if not isinstance(message.content, str):
            raise InvalidRequest("An application is asked with a text.")
        context = get_context()
        memory = _Memory(context, self.client, self._store)
        uploaded = [
            self.client.upload_named(memory.conversation_id, each.path, each.name)
            for each in context.attachments
        ]
        ask = functools.partial(
            self.client.run,
            memory.conversation_id,
            message.content,
            [*file_ids, *uploaded] if uploaded else file_ids,
            stream,
            tools=tools,
            tool_outputs=tool_outputs,
            tool_choice=tool_choice if tool_choice is not None else self._tool_choice,
            end_user_id=end_user_id if end_user_id is not None else context.user_id,
            mcp_authorization=mcp_authorization,
            parameters=parameters,
            custom_metadata=custom_metadata,
        )
        said = ask(action=action) if action is not None else _go_on(ask, memory.question)
        memory.question = None  # the service has begun to answer
        answer: AnswerMessage[Any] = AnswerMessage()
        pieces = _Pieces(
            said.content if stream else [said.content], answer, memory, StepRecorder(context.on_step)
        )
        # A run is sent once. An error before the first piece of text is therefore one of this call: while
        # an answer is iterated over, the engine would take it for one to try again.
        pieces.begin()
        answer.content = pieces if stream else "".join(pieces)
        return answer


def _go_on(ask: Callable[..., Message[Any]], question: str | None) -> Message[Any]:
    """Asks, where a workflow has asked *question* as the answer to it."""
    if question is not None:
        # Refused if a turn failed after the service had its answer; then nothing was begun.
        with contextlib.suppress(ModelRejected):
            return ask(action=Action.create_resume_action(question))
    return ask()


class _Pieces(Iterator[str]):
    """An answer's pieces of text. Fills, on the way, its extra and usage and the session's memory."""

    def __init__(
        self,
        said: Iterable[AppBuilderClientAnswer],
        answer: AnswerMessage[Any],
        memory: _Memory,
        recorder: StepRecorder,
    ) -> None:
        self._said = iter(said)
        self._close = getattr(said, "close", None)
        self._answer = answer
        self._memory = memory
        self._recorder = recorder
        self._events: list[Event] = []
        self._message_id = ""
        self._first: str | None = None

    def begin(self) -> None:
        """Waits for the first piece."""
        self._first = next(self, None)

    def __next__(self) -> str:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        try:
            for piece in self._said:
                self._take(piece)
                if piece.text:
                    return piece.text
        except BaseException:
            self._recorder.end()
            raise
        self._complete()
        raise StopIteration

    def close(self) -> None:
        """Breaks the answer off."""
        if self._close is not None:
            self._close()
        self._complete()

    def _take(self, piece: AppBuilderClientAnswer) -> None:
        self._message_id = piece.message_id or self._message_id
        if piece.interrupt_event_id is not None:
            self._memory.question = piece.interrupt_event_id
        for event in piece.events:
            self._recorder.tell(event)
            self._events.append(event)

    def _complete(self) -> None:
        """At the end, not piece by piece: all pieces of a stream carry what the answer had with its first."""
        self._recorder.end()
        extra = {
            "conversation_id": self._memory.conversation_id,
            "message_id": self._message_id,
            "interrupt_event_id": self._memory.question,
            "events": [event.model_dump(exclude_none=True) for event in self._events],
        }
        self._answer.extra = {name: value for name, value in extra.items() if value}
        used = [event.usage for event in self._events if event.usage is not None]
        if used:
            self._answer.token_usage = {name: sum(getattr(each, name) for each in used) for name in _COUNTS}


class _Memory:
    """What a session remembers of its application: the conversation, and what a workflow asked last."""

    def __init__(
        self, context: SessionContext, client: AppBuilderClient, store: SessionStore | None
    ) -> None:
        kept = _kept(context, store)
        conversation_id = kept.get("conversation_id") if kept.get("app_id") == client.app_id else None
        self.conversation_id = str(conversation_id or client.create_conversation())
        self._question: str | None = kept.get("question") if conversation_id else None
        self._context = context
        self._app_id = client.app_id
        if not conversation_id:
            self._remember()

    @property
    def question(self) -> str | None:
        """The id of what a workflow asked."""
        return self._question

    @question.setter
    def question(self, question: str | None) -> None:
        if question != self._question:
            self._question = question
            self._remember()

    def _remember(self) -> None:
        content = {
            "app_id": self._app_id,
            "conversation_id": self.conversation_id,
            "question": self._question,
        }
        message = Message({name: value for name, value in content.items() if value is not None})
        if self._context.is_local:
            self._context.session_vars_dict.setdefault(KEY, []).append(message)
        else:
            self._context.session_vars_dict[KEY] = message


def _kept(context: SessionContext, store: SessionStore | None) -> Mapping[str, Any]:
    here = context.session_vars_dict.get(KEY)
    if here:
        content = (here[-1] if isinstance(here, list) else here).content
    else:
        store = None if context.is_local else context.store or store
        rows = store.history(context.session_id, KEY, 1) if store is not None else []
        content = rows[-1].get("content") if rows else None
    return content if isinstance(content, dict) else {}
