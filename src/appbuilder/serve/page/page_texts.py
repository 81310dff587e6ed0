"""The few sentences the page adds to a conversation, in the reader's language."""

from __future__ import annotations

_TEXTS = {
    "stopped": ("已停止", "Stopped"),
    "length": ("回答达到长度上限，在此截断。", "The answer was cut at the length limit."),
    "content_filter": ("回答被内容过滤器截断。", "The answer was cut by the content filter."),
    "ended": ("回答提前结束", "The answer ended early"),
    "request": ("请求编号", "request id"),
    "earlier": ("更早的消息", "Earlier messages"),
    "no_earlier": ("没有更早的消息。", "There are no earlier messages."),
    "back": ("返回对话", "Back to the conversation"),
    "question": ("提问", "Question"),
    "whole": ("查看全文", "Show the whole message"),
    # The page's script
    "welcome": ("输入消息，开始对话。", "Write a message to begin."),
    "input": ("输入消息", "Message"),
    "send": ("发送", "Send"),
    "stop": ("停止", "Stop"),
    "new_chat": ("新对话", "New conversation"),
    "sidebar": ("显示或隐藏侧边栏", "Show or hide the side bar"),
    "search": ("搜索对话", "Search conversations"),
    "theme": ("切换明暗主题", "Light or dark theme"),
    "account": ("用户菜单", "User menu"),
    "attach": ("添加文件", "Attach files"),
    "good": ("有帮助", "Helpful"),
    "bad": ("没有帮助", "Not helpful"),
    "comment": ("评价说明", "Comment"),
    "copy": ("复制", "Copy"),
    "newest": ("回到最新消息", "Go to the newest message"),
    "options": ("更多操作", "Options"),
    "answering": ("正在回答", "Answering"),
    "too_long": (
        "这条消息有 {size} MiB，最多 {limit} MiB。请缩短后再发送。",
        "This message has {size} MiB; at most {limit} MiB are allowed. Shorten it and send it again.",
    ),
    "no_files": ("这个页面不接收文件。", "This page does not take files."),
    "too_many_files": ("一条消息最多 {limit} 个文件。", "A message has at most {limit} files."),
    "remove_file": ("移除文件", "Remove the file"),
    "docs": ("接口文档", "API reference"),
    "admin": ("管理", "Administration"),
    "conversations": ("对话", "Conversations"),
    "no_conversations": ("没有对话", "No conversations"),
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
    "PayloadTooLarge": ("消息太长，没有发送。", ""),
    "SessionBusy": ("这个会话的上一个问题还没有答完，请稍后重试。", ""),
    "TurnCancelled": ("已停止。", ""),
    "TurnTimeout": ("回答超过了服务允许的时间，已停止。", ""),
    "ConfigurationError": ("服务没有设置好，处理办法见服务日志。", ""),
}


def is_chinese(language: str) -> bool:
    """Whether *language* (``zh-CN``, ``en``...) is Chinese."""
    return language.lower().split("-")[0] == "zh"


def text(name: str, language: str, otherwise: str = "") -> str:
    """The sentence of this name in *language*, or *otherwise* if it is missing."""
    chinese, english = _TEXTS.get(name, ("", ""))
    return (chinese if is_chinese(language) else english) or otherwise
