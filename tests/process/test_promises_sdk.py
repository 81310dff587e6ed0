"""The seeds' program against the gateway's double, and what the document's SQLite cells print."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.process import rawhttp
from tests.process.server import Server
from tests.process.serving import BOTH, run_program

from appbuilder.testing import GatewayDouble, Reply

CONNECT = '''
import sqlite3

# 连接到 SQLite 数据库
# 如果文件不存在，会自动在当前目录创建:
user_session_path = DATABASE
conn = sqlite3.connect(user_session_path)
cursor = conn.cursor()
'''
TABLES = '''
# 执行一条 SQL 语句，列出所有表
cursor.execute("SELECT name FROM sqlite_master WHERE type='table';")
print(cursor.fetchall())
'''
COLUMNS = '''
cursor.execute("PRAGMA table_info(appbuilder_session_messages);")
columns_info = cursor.fetchall()

column_names = [info[1] for info in columns_info]  # info[1]是列名的位置
for column_name in column_names:
    print(column_name)
'''
VALUES = '''
import json
cursor.execute("SELECT message_value FROM appbuilder_session_messages;")
for row in cursor.fetchall():
    print(json.loads(row[0]))
'''
BY_SESSION = '''
cursor.execute("SELECT * FROM appbuilder_session_messages WHERE session_id = 'the-session';")
for tuple in cursor.fetchall():
    for message in tuple:
        try:
            message = json.loads(message)
            print(message)
        except:
            print(message)
'''
ANSWER = "你好，我是百度研发的知识增强大语言模型，中文名是文心一言，英文名是ERNIE Bot。"
USAGE = {"prompt_tokens": 2, "completion_tokens": 42, "total_tokens": 44}
FOUND = {"content": "请你扮演一个智能搜索改写补全机器人", "dataset_name": "多轮改写Prompt", "score": 0.511053}
TRACE = {"trace_log": [{"tool": "search_db", "result": [FOUND]}]}


@pytest.fixture(params=BOTH)
def seed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, GatewayDouble]]:
    with GatewayDouble() as gateway:
        env = {"GATEWAY_URL": gateway.address, "WORKER_CLASS": request.param}
        with run_program("seed_history", tmp_path, **env) as server:
            yield server, gateway


def run_cells(database: Path) -> list[str]:
    """What each cell prints."""
    names: dict[str, Any] = {"DATABASE": str(database)}
    printed = []
    try:
        for cell in (CONNECT, TABLES, COLUMNS, VALUES, BY_SESSION):
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(cell, names)
            printed.append(output.getvalue())
    finally:
        names["conn"].close()
    return printed


def test_the_document_s_cells(seed: tuple[Server, GatewayDouble]) -> None:
    server, gateway = seed
    gateway.reply(
        Reply(pieces=[ANSWER], usage=USAGE),
        Reply(pieces=["请介绍一下你自己"], usage=USAGE, extra=TRACE),
        Reply(pieces=["我是", "文心一言"], usage=USAGE),
    )
    first = rawhttp.chat(server.port, {"message": "你好", "session_id": "the-session"})
    assert (first.content, first.result["answer_message"]["token_usage"]) == (ANSWER, USAGE)
    events = rawhttp.stream(server.port, {"message": "介绍自己", "session_id": "the-session"})
    assert rawhttp.text_of(events) == "我是文心一言"
    assert events[-1]["result"]["answer_message"]["token_usage"] == USAGE
    rewrite = gateway.calls[-2]
    assert rewrite.path.endswith("/query_rewrite")
    assert [said in rewrite.body["query"] for said in ("你好", ANSWER, "介绍自己")] == [True] * 3
    assert gateway.calls[-1].body["query"] == "请介绍一下你自己"

    _, tables, columns, values, by_session = run_cells(server.folder / "foo.db")
    assert tables == "[('appbuilder_session_messages',)]\n"
    assert columns.split() == ["id", "session_id", "request_id", "message_key", "message_value", "created_at",
                               "updated_at", "deleted"]
    query, answer, rewritten, told = (ast.literal_eval(line) for line in values.splitlines())
    for value in (query, answer, rewritten, told):
        assert (value["name"], value["mtype"]) == ("msg", "str")
        assert re.fullmatch(r"[0-9a-f-]{36}", value["id"])
    assert list(query) == ["content", "name", "mtype", "id"]
    assert list(answer) == ["content", "name", "mtype", "id", "extra", "token_usage"]
    assert (query["content"], answer["content"]) == ("你好", ANSWER)
    assert (answer["extra"], answer["token_usage"]) == ({}, USAGE)
    assert (rewritten["content"], rewritten["extra"]) == ("请介绍一下你自己", {"search_db": [FOUND]})
    assert (told["content"], told["token_usage"]) == ("我是文心一言", USAGE)

    lines = by_session.splitlines()
    assert len(lines) == 4 * 8
    keys, times, deleted = lines[3::8], [*lines[5::8], *lines[6::8]], lines[7::8]
    assert keys == ["query", "answer", "query", "answer"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", time) for time in times)
    assert deleted == ["0"] * 4
    assert lines[4] == values.splitlines()[0]
    assert lines[2] == lines[10] != lines[18] == lines[26]


def test_run_alone_and_chat_make_no_database_rows(seed: tuple[Server, GatewayDouble]) -> None:
    """``run`` and ``chat`` before ``serve`` keep what they remember in memory."""
    server, gateway = seed
    assert gateway.calls[0].body["query"] == "海淀区的面积是多少"
    assert "海淀区的面积是多少" in server.log
    *_, values, _ = run_cells(server.folder / "foo.db")
    assert values == ""
    assert json.loads(rawhttp.get(server.port, "/health").body)["code"] == 0
