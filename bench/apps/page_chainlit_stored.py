"""The same with Chainlit's own data layer, on SQLite as it comes."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import chainlit as cl
from chainlit.data.sql_alchemy import SQLAlchemyDataLayer

from bench.apps.page_chainlit import on_message

__all__ = ["on_message"]

COLUMNS = {
    "users": '"identifier", "metadata", "createdAt"',
    "threads": '"createdAt", "name", "userId", "userIdentifier", "tags", "metadata"',
    "steps": '"name", "type", "threadId", "parentId", "streaming", "waitForAnswer", "isError", "metadata", '
    '"tags", "input", "output", "createdAt", "command", "modes", "start", "end", "generation", "showInput", '
    '"language", "defaultOpen", "autoCollapse", "icon"',
    "feedbacks": '"forId", "threadId", "value", "comment"',
    "elements": '"threadId", "type", "url", "chainlitKey", "name", "display", "objectKey", "size", "page", '
    '"language", "forId", "mime", "props"',
}


@cl.data_layer
def data_layer() -> SQLAlchemyDataLayer:
    with closing(sqlite3.connect("bench.db")) as database, database:
        for table, columns in COLUMNS.items():
            database.execute(f'CREATE TABLE IF NOT EXISTS {table} ("id" TEXT PRIMARY KEY, {columns})')
    return SQLAlchemyDataLayer("sqlite+aiosqlite:///bench.db")
