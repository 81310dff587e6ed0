"""``history`` and ``messages``: what was said in a session before, as a function takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from appbuilder.core.context import SessionContext, get_context
from appbuilder.core.message import Message, text_of
from appbuilder.core.store import COMPLETE, STATE, TURN_KEY
from appbuilder.errors import InvalidRequest

HISTORY, MESSAGES = "history", "messages"
USER_KEY, ASSISTANT_KEY = "history.user", "history.assistant"
"""Where nothing keeps the turns (FlaskRuntime, ``chat()``): the keys under which they are remembered."""

TURNS = 50
"""Turns of a session that a function gets, the newest ones."""
CHARACTERS = 1_000_000
"""Characters of them; the turn in which they end is left out."""
_FEW = 8

_Messages = list[dict[str, Any]]
_SPEAKERS = ("user", "assistant")
_INSTRUCTING = ("system", "developer")
_ROLES = (*_SPEAKERS, *_INSTRUCTING, "tool", "function")


def filled(wanted: Mapping[str, str], content: Any, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments *wanted*, of ``history`` and ``messages``; reads the session, so it may block.

    What the client sent of the conversation is used in place of the session's.

    :param wanted: each argument's form: ``dicts``, or ``pairs`` of a user's text and the answer.
    :param content: the current message.
    :param args: members of the request.
    :raises InvalidRequest: one of the two was sent and is no list of messages.
    """
    sent = _checked(args, MESSAGES)
    history = _checked(args, HISTORY)
    at = next((at for at in reversed(range(len(sent))) if sent[at]["role"] == "user"), None)
    before, after = ([], sent) if at is None else (sent[:at], sent[at + 1 :])
    said = [each for each in before if _is_said(each)]
    whole = sent
    if not said and not any(map(_is_said, after)):
        if HISTORY not in args:
            history = earlier(get_context())
        calls = _without(_INSTRUCTING, after)  # of tools, and their results: what is asked, if no user asks
        question = [{"role": "user", "content": _content(content)}] if at is not None or not calls else []
        instructions = [each for each in sent if each["role"] in _INSTRUCTING]
        whole = instructions + history + _without(_INSTRUCTING, before) + question + calls
    elif HISTORY not in args:
        history = [{"role": each["role"], "content": each["content"]} for each in said]
    made = {HISTORY: history, MESSAGES: whole}
    return {name: made[name] if form == "dicts" else _pairs(made[name]) for name, form in wanted.items()}


def earlier(context: SessionContext) -> _Messages:
    """The finished turns of a session as messages, oldest first."""
    found: _Messages = []
    characters = 0
    for question, answer in reversed(_turns(context)):
        characters += len(text_of(question)) + len(text_of(answer))
        if characters > CHARACTERS:
            break
        found += [{"role": "assistant", "content": answer}, {"role": "user", "content": question}]
    return found[::-1]


def remember(content: Any, answer: Message[Any]) -> None:
    """Keeps a turn where the runtime does not do it."""
    context = get_context()
    if context.keeps_turns is not None:
        return
    for key, message in ((USER_KEY, Message(_content(content))), (ASSISTANT_KEY, answer)):
        if context.is_local:
            context.session_vars_dict.setdefault(key, []).append(message)
        else:
            context.session_vars_dict[key] = message


def _turns(context: SessionContext) -> list[tuple[Any, Any]]:
    if context.keeps_turns is False:
        return []
    if context.keeps_turns:
        kept = [each for each in _stored(context, TURN_KEY) if each.get(STATE) == COMPLETE]
        return [(_of(each.get("input")), _of(each.get("answer"))) for each in kept]
    if context.is_local:
        said = [context.session_vars_dict.get(key, ())[-TURNS:] for key in (USER_KEY, ASSISTANT_KEY)]
        return [(_content(user.content), _content(answer.content))
                for user, answer in zip(*said, strict=False)]
    users, answers = _stored(context, USER_KEY), _stored(context, ASSISTANT_KEY)
    # The newest belong together; of the longer texts there are fewer.
    newest = zip(reversed(users), reversed(answers), strict=False)
    return [(_of(user), _of(answer)) for user, answer in newest][::-1]


def _stored(context: SessionContext, key: str) -> list[dict[str, Any]]:
    """The newest messages under *key*; only a few where these are large."""
    store = context.store
    if store is None:
        return []
    few = store.history(context.session_id, key, _FEW, context.history_before)
    if len(few) < _FEW or sum(len(text_of(each)) for each in few) > CHARACTERS:
        return few
    return store.history(context.session_id, key, TURNS, context.history_before)


def _of(members: Any) -> Any:
    return _content(members.get("content") if isinstance(members, dict) else members)


def _content(content: Any) -> Any:
    """A content as OpenAI's messages have it: a text, or parts where not all are text."""
    parts = isinstance(content, list) and bool(content)
    if parts and all(isinstance(each, dict) and isinstance(each.get("type"), str) for each in content):
        return content
    return text_of(content)


def _is_said(message: Mapping[str, Any]) -> bool:
    """Whether it is part of what is said: an assistant that calls tools says nothing."""
    return message["role"] in _SPEAKERS and message["content"] is not None


def _without(roles: Sequence[str], messages: _Messages) -> _Messages:
    return [each for each in messages if each["role"] not in roles]


def _checked(args: Mapping[str, Any], name: str) -> _Messages:
    value = args.get(name) or []
    fit = isinstance(value, list) and all(
        isinstance(each, dict) and each.get("role") in _ROLES and "content" in each for each in value
    )
    if not fit:
        raise InvalidRequest(
            f"The member {name!r} must be an array of messages, each with role and content.", param=name
        )
    return list(value)


def _pairs(messages: _Messages) -> list[list[str]]:
    pairs: list[list[str]] = []
    for each in messages:
        if each["role"] == "user":
            pairs.append([text_of(each["content"]), ""])
        elif each["role"] == "assistant" and pairs:
            pairs[-1][1] += text_of(each["content"])
    return pairs
