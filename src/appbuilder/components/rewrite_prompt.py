"""The prompt that makes a chat model rewrite the last question of a conversation so that it stands alone.

For model servers that do not hold the AppBuilder gateway's own prompt. It was made for the default local
model, half a billion parameters: such a model follows examples, not instructions, and is drawn to copy a
question of the history, or the last one, as it is. What worked is one kind of rewriting per prompt and
answers that begin alike:

- a short question with a new subject ("what about X?") comes first in the text and in the answer, which
  goes on with the words of the question before it; the answers given meanwhile are left out;
- any other question is put behind its topic: "about X, ...?"; answers stand in parentheses behind their
  questions, or the model copies them.

What is the same for every call stands first, so that the server computes it once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

WITH_REPLIES = "带机器人回复"
QUERIES_ONLY = "仅用户查询"

Turns = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Language:
    """The prompts of one language.

    ``new_subject`` finds the subject of a "what about X?" (its group); ``interrogative`` what such a
    question does not hold. ``follow`` and ``complete`` are the instructions of the two kinds, each with its
    examples; ``after``, ``question``, ``answer``, ``between`` and ``ask`` what stands around the
    conversation.
    """

    new_subject: re.Pattern[str]
    interrogative: re.Pattern[str]
    follow: str
    followed: tuple[tuple[Turns, str], ...]
    after: str
    complete: str
    completed: tuple[tuple[Turns, str], ...]
    question: str
    answer: str
    between: str
    ask: str

    def subject(self, question: str) -> str:
        """X of "what about X?"; empty if *question* is of another kind."""
        found = self.new_subject.fullmatch(question.strip())
        subject = next((text for text in found.groups() if text), "") if found else ""
        return "" if self.interrogative.search(subject) else subject


_CHINESE = _Language(
    new_subject=re.compile(r"(?:那么|那)?(.+?)的?呢[？?。]?|(?:那么|那)(.+?)[？?]"),
    interrogative=re.compile(r"吗|什么|谁|哪|几|多|怎|如何|为何|是否|吧|为啥|[？?]"),
    follow="参照上一个问题，把省略的问题补充完整。",
    followed=(
        (("老李会弹钢琴吗", "会，他弹了十年", "吉他呢"), "吉他老李会弹吗"),
        (("坐飞机能带充电宝吗", "可以随身携带", "打火机呢"), "打火机坐飞机能带吗"),
        (("怎么挑选新鲜的鱼", "看眼睛和鳃", "虾呢"), "虾怎么挑选新鲜的"),
        (("从武汉到长沙开车要几个小时", "四个小时", "到南昌呢"), "到南昌从武汉开车要几个小时"),
        (("珠穆朗玛峰有多高", "8848米", "乔戈里峰呢"), "乔戈里峰有多高"),
        (("月球离地球有多远", "38万公里", "火星呢"), "火星离地球有多远"),
        (("法国的首都在哪里", "巴黎", "意大利呢"), "意大利的首都在哪里"),
        (("猫的寿命一般有几年", "十五年", "狗呢"), "狗的寿命一般有几年"),
        (("是谁发明了电话", "贝尔", "飞机呢"), "飞机是谁发明的"),
        (("春天适合种什么花", "月季", "秋天呢"), "秋天适合种什么花"),
    ),
    after="上一个问题：",
    complete="参照上文，把省略的问题补充完整。",
    completed=(
        (("给我讲个笑话", "从前有只小鸭子……", "水在几度结冰"), "水在几度结冰"),
        (("怎么办护照", "带身份证到出入境大厅申请", "几天能拿到"), "关于办护照，几天能拿到"),
        (("推荐一部动画片", "推荐《龙猫》", "主角叫什么"), "关于《龙猫》，主角叫什么"),
        (("膝盖扭伤了怎么办", "先冷敷，再休息", "可以跑步吗"), "关于膝盖扭伤，可以跑步吗"),
        (("谁发明了电话", "贝尔", "他还发明过什么"), "关于贝尔，他还发明过什么"),
        (("学游泳难吗", "不难，一个月就能学会", "要准备哪些东西"), "关于学游泳，要准备哪些东西"),
        (("世界上最大的沙漠叫什么", "撒哈拉沙漠", "它在哪个洲"), "关于撒哈拉沙漠，它在哪个洲"),
        (
            ("怎么学做蛋糕", "可以看视频跟着做", "要买烤箱吗", "要买一个小烤箱", "先练习哪一种"),
            "关于学做蛋糕，先练习哪一种",
        ),
        (("晚饭吃什么好", "可以吃面条", "介绍一下莫扎特"), "介绍一下莫扎特"),
        (("Excel怎么求平均值", "用AVERAGE函数", "怎么保留两位小数"), "关于Excel求平均值，怎么保留两位小数"),
        (("明天武汉冷吗", "明天武汉三到八度，比较冷", "适合爬山吗"), "关于明天武汉的天气，适合爬山吗"),
        (("租车需要什么证件", "身份证和驾驶证", "押金交几千块"), "关于租车，押金交几千块"),
        (("什么叫光合作用", "植物用阳光制造养分的过程", "晚上能进行吗"), "关于光合作用，晚上能进行吗"),
    ),
    question="问：",
    answer="（{}）",
    between="；",
    ask="把“{}”补充完整",
)

_ENGLISH = _Language(
    new_subject=re.compile(r"(?:and |but )?(?:what|how) about (.+?)\s*\??|and (.+?)\s*\?", re.IGNORECASE),
    interrogative=re.compile(
        r"\b(?:who|what|when|where|why|how|which|is|are|do|does|can|will)\b|\?", re.IGNORECASE
    ),
    follow="Complete the short question, following the question before it.",
    followed=(
        (("Does Tom play the piano?", "Yes.", "And the guitar?"), "The guitar: does Tom play it?"),
        (("Can dogs eat chocolate?", "No.", "What about grapes?"), "Grapes: can dogs eat them?"),
        (("How tall is Mount Everest?", "8849 m.", "What about K2?"), "K2: how tall is it?"),
        (("Which flowers suit spring?", "Roses.", "And autumn?"), "Autumn: which flowers suit it?"),
        (("What is the currency of Sweden?", "Krona.", "And Peru?"), "Peru: what is the currency?"),
    ),
    after="The question before: ",
    complete="Complete the last question so that it can be understood without the text before it.",
    completed=(
        (("Tell me a joke.", "Once upon a time...", "When does water freeze?"), "When does water freeze?"),
        (
            ("How do I apply for a passport?", "Go to the passport office.", "How long does it take?"),
            "About applying for a passport: how long does it take?",
        ),
        (
            ("Recommend a cartoon.", "My Neighbor Totoro.", "Who is the main character?"),
            "About My Neighbor Totoro: who is the main character?",
        ),
        (("I twisted my ankle, what now?", "Cool it.", "Can I run?"), "About a twisted ankle: can I run?"),
        (
            ("Who invented the telephone?", "Alexander Graham Bell.", "What else did he invent?"),
            "About Alexander Graham Bell: what else did he invent?",
        ),
        (("Is it hard to swim?", "No.", "What do I need?"), "About swimming: what do I need?"),
        (("What is the largest desert?", "The Sahara.", "Where is it?"), "About the Sahara: where is it?"),
    ),
    question="Q: ",
    answer=" ({})",
    between="; ",
    ask="Complete “{}”",
)

_LONGEST_REPLY = 100
_HAN = re.compile("[\u3400-\u9fff]")


def rewrite_messages(turns: Sequence[str], rewrite_type: str) -> list[dict[str, str]]:
    """The messages for a chat model.

    :param turns: question, answer, ..., question.
    :param rewrite_type: ``"带机器人回复"`` uses the answers, ``"仅用户查询"`` the questions alone.
    """
    language = _CHINESE if _HAN.search("".join(turns)) else _ENGLISH
    follows = len(turns) > 1 and bool(language.subject(turns[-1]))
    instruction = language.follow if follows else language.complete
    messages = [{"role": "system", "content": instruction}]
    for example, rewritten in language.followed if follows else language.completed:
        messages.append({"role": "user", "content": _show(language, example, rewrite_type, follows)})
        messages.append({"role": "assistant", "content": rewritten})
    messages.append({"role": "user", "content": _show(language, turns, rewrite_type, follows)})
    return messages


def _show(language: _Language, turns: Sequence[str], rewrite_type: str, follows: bool) -> str:
    *history, last = turns
    if follows:
        return f"{language.subject(last)}\n{language.after}{_whole_question(language, history[::2])}"
    asked = []
    for question, reply in zip(history[::2], history[1::2], strict=True):
        said = language.answer.format(_shortened(reply)) if rewrite_type == WITH_REPLIES else ""
        asked.append(question + said)
    before = f"{language.question}{language.between.join(asked)}\n" if asked else ""
    return before + language.ask.format(last)


def _shortened(reply: str) -> str:
    """What an answer is about stands at its beginning; a page of it costs the local model half a minute."""
    return reply if len(reply) <= _LONGEST_REPLY else f"{reply[:_LONGEST_REPLY]}……"


def _whole_question(language: _Language, questions: Sequence[str]) -> str:
    """The newest question that is itself no "what about X?"."""
    return next((text for text in reversed(questions) if not language.subject(text)), questions[0])
