"""The few sentences the page adds to a conversation, in the reader's language."""

from __future__ import annotations

_TEXTS = {
    "stopped": ("已停止", "Stopped"),
    "request": ("请求编号", "request id"),
    "earlier": ("更早的消息", "Earlier messages"),
    "no_earlier": ("没有更早的消息。", "There are no earlier messages."),
    "back": ("返回对话", "Back to the conversation"),
    "question": ("提问", "Question"),
    "whole": ("查看全文", "Show the whole message"),
    "tokens": ("词元", "tokens"),
    "ComponentError": ("组件出错了，原因见服务日志中的请求编号。", ""),
    "AnswerTooLarge": ("回答超过了服务允许的长度，已停止。", ""),
    "StoreUnavailable": ("会话数据库没有响应，请稍后重试。", ""),
    "ValueNotStorable": ("数据库无法保存这次的内容，原因见服务日志中的请求编号。", ""),
    "ModelTimeout": ("模型服务没有及时响应，请重试。", ""),
    "ModelError": ("模型服务出错了，原因见服务日志中的请求编号。", ""),
    "ModelUnavailable": ("模型服务出错了，原因见服务日志中的请求编号。", ""),
    "ModelRejected": ("模型服务拒绝了请求，原因见服务日志中的请求编号。", ""),
    "Overloaded": ("服务繁忙，请稍后重试。", ""),
    "Draining": ("服务正在停止，请稍后重试。", ""),
    "SessionBusy": ("这个会话的上一个问题还没有答完，请稍后重试。", ""),
    "TurnCancelled": ("已停止。", ""),
    "TurnTimeout": ("回答超过了服务允许的时间，已停止。", ""),
    "ConfigurationError": ("服务没有设置好，处理办法见服务日志。", ""),
}


def is_chinese(language: str) -> bool:
    """Whether *language* (``zh-CN``, ``en``...) is Chinese."""
    return language.lower().split("-")[0] == "zh"


def text(name: str, language: str, otherwise: str = "") -> str:
    """The sentence of this name in *language*, or *otherwise* where there is none."""
    chinese, english = _TEXTS.get(name, ("", ""))
    return (chinese if is_chinese(language) else english) or otherwise
