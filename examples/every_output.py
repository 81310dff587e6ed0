"""A tool that answers with every type of output there is. It needs no model and no network.

Run it to see the outputs as JSON; the chat page's debug view draws them.
"""

import io
import json
import math
import struct
import wave
import zlib
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from appbuilder import Component, Message
from appbuilder.core.component import ComponentOutput

STEPS = ("查询", "整理", "绘图", "完成")
REFERENCES = [
    {"id": 1, "title": "北京市统计年鉴", "url": "https://tjj.beijing.gov.cn/", "web_anchor": "北京市统计局",
     "date": "2024-03-21", "content": "海淀区常住人口三百一十二万，朝阳区三百四十四万。"},
    {"id": 2, "title": "Beijing – districts", "url": "https://en.wikipedia.org/wiki/Beijing",
     "source": "Wikipedia", "content": "Beijing has sixteen districts."},
]  # fmt: skip
BARS = {
    "title": {"text": "海淀与朝阳", "subtext": "每月访问量与转化率"},
    "legend": {},
    "tooltip": {"trigger": "axis"},
    "xAxis": {"type": "category", "data": ["一月", "二月", "三月", "四月", "五月", "六月"]},
    "yAxis": [
        {"type": "value", "name": "万人次"},
        {"type": "value", "name": "转化率", "axisLabel": {"formatter": "{value} %"}},
    ],
    "series": [
        {"name": "海淀", "type": "bar", "stack": "区", "data": [120, 132, 101, 134, 90, 230]},
        {"name": "朝阳", "type": "bar", "stack": "区", "data": [220, 182, 191, 234, 290, 330]},
        {"name": "转化率", "type": "line", "yAxisIndex": 1, "smooth": True,
         "data": [2.1, 2.4, 2.2, 2.9, 3.3, 3.1]},
    ],
}  # fmt: skip
PIE = {
    "title": {"text": "访问来源", "left": "center"},
    "series": [{
        "type": "pie", "radius": ["40%", "70%"],
        "data": [{"name": "搜索引擎", "value": 1048}, {"name": "直接访问", "value": 735},
                 {"name": "邮件营销", "value": 580}, {"name": "联盟广告", "value": 484}],
    }],
}  # fmt: skip
CODE = '''def area(districts: dict[str, float]) -> float:
    """The sum of all areas, in square kilometres."""
    return sum(districts.values())


print(area({"海淀区": 430.8, "朝阳区": 470.8}))
'''
PLAN = {
    "goal": "比较海淀区和朝阳区",
    "thought": "先查面积和人口，再画图。",
    "tasks": [
        {"id": "1", "name": "查询", "description": "查两个区的面积", "tool": "search",
         "parameters": {"query": "海淀区 朝阳区 面积"}, "status": "done"},
        {"id": "2", "name": "绘图", "description": "draw both as bars", "requires": ["1"], "tool": "chart",
         "parameters": {"type": "bar"}, "status": "running"},
    ],
}  # fmt: skip


class EveryOutput(Component):
    """Yields each type once, some of them twice."""

    def run(self, message: Message, stream: bool = False, **_: Any) -> Message:
        return Message(f"收到：{message.content}")

    def tool_eval(self, query: str, **_: Any) -> Iterator[ComponentOutput]:
        output = self.create_output
        for place, step in enumerate(STEPS):
            following = STEPS[place + 1] if place + 1 < len(STEPS) else ""
            yield output("progress", {
                "progress": place / (len(STEPS) - 1), "step": step, "next_step_name": following,
                "message": f"{place + 1} / {len(STEPS)}",
            })  # fmt: skip
        yield output("reasoning_content", "用户问的是两个区的比较。")
        yield output("reasoning_content", "First the facts, then a chart.")
        yield output("plan", PLAN)
        yield output("text", f"你问的是：**{query}**。")
        yield output("text", "海淀区面积 430.8 平方公里 [1]，")
        yield output("text", "朝阳区 470.8 平方公里 [2]。")
        yield output("function_call", {
            "thought": "需要两个区的面积", "name": "search",
            "arguments": {"query": "海淀区 朝阳区 面积", "limit": 2},
        })  # fmt: skip
        yield output("json", json.dumps({"海淀区": 430.8, "朝阳区": 470.8}, ensure_ascii=False))
        yield output("code", {"code": CODE, "language": "python"})
        yield output("chart", {"type": "echarts", "data": json.dumps(BARS, ensure_ascii=False)})
        yield output("chart", {"type": "echarts", "data": json.dumps(PIE, ensure_ascii=False)})
        yield output("image", {
            "filename": "渐变.png", "url": "", "mime_type": "image/png",
            "base64": b64encode(picture()).decode(),
        })  # fmt: skip
        yield output("audio", {
            "filename": "a440.wav", "url": "", "base64": b64encode(tone()).decode(), "mime_type": "audio/wav",
        })  # fmt: skip
        table = "区,面积\n海淀区,430.8\n朝阳区,470.8\n".encode()
        yield output("files", {
            "filename": "面积.csv", "url": f"data:text/csv;base64,{b64encode(table).decode()}",
        })  # fmt: skip
        yield output("urls", "https://www.beijing.gov.cn/")
        for reference in REFERENCES:
            yield output("references", reference)
        yield output("browser", {
            "query": "海淀区 面积", "thought": {"next_goal": "打开统计局的页面"},
            "result": {"answer": "430.8 平方公里"},
        })  # fmt: skip
        yield output("oral_text", "海淀区比朝阳区小四十平方公里。")


def picture(width: int = 320, height: int = 120) -> bytes:
    """A gradient as a PNG."""
    rows = b"".join(
        b"\0" + bytes(c for x in range(width) for c in (255 * x // width, 120, 255 * y // height))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def tone(hertz: float = 440, seconds: float = 0.4, rate: int = 8000) -> bytes:
    """A tone as a WAV: 16 bits, one channel."""
    samples = (int(8000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(int(seconds * rate)))
    data = io.BytesIO()
    with wave.open(data, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return data.getvalue()


if __name__ == "__main__":
    for each in EveryOutput().tool_eval("海淀区和朝阳区哪个大？"):
        print(each.model_dump_json()[:300])
