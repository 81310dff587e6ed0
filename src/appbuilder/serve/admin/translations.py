"""The admin page's words, in Chinese and in English."""

from __future__ import annotations

TEXTS = {
    # name: (Chinese, English)
    "admin": ("管理", "Admin"),
    "sessions": ("会话", "Sessions"),
    "runs": ("正在运行", "Live runs"),
    "keys": ("API 密钥", "API keys"),
    # The list
    "title": ("标题", "Title"),
    "owner": ("用户", "Owner"),
    "created": ("创建", "Created"),
    "last_turn": ("最近一轮", "Last turn"),
    "turns": ("轮次", "Turns"),
    "tokens": ("词元", "Tokens"),
    "tokens_used": ("词元", "tokens"),
    "ratings": ("评价", "Ratings"),
    "search_title": ("在标题中搜索", "Search in titles"),
    "search": ("搜索", "Search"),
    "any_owner": ("所有用户", "Any owner"),
    "clear": ("清除", "Clear"),
    "newest": ("回到最新", "Back to the newest"),
    "older": ("更早", "Older"),
    "none_found": ("没有找到会话", "No session found"),
    "none_found_hint": ("换一个标题或用户再试试。", "Try another title or owner."),
    "none_yet": ("还没有会话", "No sessions yet"),
    "none_yet_hint": (
        "有人在聊天页面或通过接口提问后，会话会出现在这里。",
        "As soon as a question is asked, on the chat page or over the API, it is listed here.",
    ),
    "untitled": ("无标题", "Untitled"),
    "no_turns": ("没有可以显示的轮次", "There is no turn to show"),
    "failed_turns": ("失败", "failed"),
    # Owners
    "nobody": ("无主", "Nobody"),
    "local": ("本机用户", "Local user"),
    "anonymous": ("匿名调用者", "Anonymous"),
    "visitor": ("访客", "Visitor"),
    # One session
    "session_id": ("会话编号", "Session id"),
    "request_id": ("请求编号", "Request id"),
    "rename": ("重命名", "Rename"),
    "new_title": ("新标题", "New title"),
    "save": ("保存", "Save"),
    "delete": ("删除", "Delete"),
    "delete_ask": (
        "删除后，用户和组件都看不到这个会话。",
        "Its user and the component will no longer see this session.",
    ),
    "delete_yes": ("确认删除", "Yes, delete it"),
    "open_chat": ("在聊天页面打开", "Open on the chat page"),
    "earlier": ("更早的轮次", "Earlier turns"),
    "newest_turns": ("最新的轮次", "Newest turns"),
    "more_characters": ("个字符没有显示", "more characters are not shown"),
    "question": ("提问", "Question"),
    "answer": ("回答", "Answer"),
    "no_answer": ("没有回答", "No answer"),
    "complete": ("完成", "Complete"),
    "incomplete": ("中断", "Cut off"),
    "failed": ("失败", "Failed"),
    "steps": ("步骤", "Steps"),
    "remembered": ("组件还记下了", "Also remembered by the component"),
    "prompt_completion": ("输入 → 输出", "prompt → completion"),
    "good": ("有帮助", "Helpful"),
    "bad": ("没有帮助", "Not helpful"),
    # Runs
    "session": ("会话", "Session"),
    "started": ("开始", "Started"),
    "state": ("状态", "State"),
    "waiting": ("等待中", "Waiting"),
    "running": ("运行中", "Running"),
    "stopping": ("停止中", "Stopping"),
    "pieces": ("已输出", "Pieces"),
    "worker": ("进程", "Worker"),
    "stop": ("停止", "Stop"),
    "no_runs": ("没有正在运行的轮次", "Nothing is running"),
    "no_runs_hint": ("这个页面每 5 秒更新一次。", "This page looks again every 5 seconds."),
    # Keys
    "name": ("名称", "Name"),
    "user": ("用户", "User"),
    "administrator": ("管理员", "Administrator"),
    "active": ("有效", "Active"),
    "revoked": ("已吊销", "Revoked"),
    "no_keys": ("还没有 API 密钥", "There are no API keys"),
    "no_keys_hint": ("在服务器上运行这条命令来创建：", "Make one on the server:"),
    "keys_hint": (
        "密钥本身没有保存，只显示过一次。创建和吊销在服务器上进行：",
        "The secrets are kept nowhere. Keys are made and revoked on the server:",
    ),
    # The rest
    "utc": ("时间为 UTC", "Times are UTC"),
    "local_times": ("时间为本地时间", "Times are local"),
    "back": ("返回会话列表", "Back to the sessions"),
    "wrong": ("出错了", "Something is wrong"),
    "not_found": ("这个会话不存在，或已被删除。", "There is no such session, or it was deleted."),
    "yes": ("是", "Yes"),
}


class Words:
    """The words of one language, by name.

    :param chinese: False: English.
    """

    def __init__(self, chinese: bool) -> None:
        self.language = "zh-CN" if chinese else "en"
        self._place = 0 if chinese else 1

    def __getitem__(self, name: str) -> str:
        return TEXTS[name][self._place]
