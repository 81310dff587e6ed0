"""What text a database and a connection hold: all of it, or the service says at its start that it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.engine import URL
from tests.services.servers import MariaServer, PostgresServer
from tests.store.conftest import Opener
from tests.store.helpers import contents, entry_turn, execute, turn

from appbuilder.errors import ConfigurationError, ValueNotStorable
from appbuilder.store.sessions.session_store import SqlStore

TEXT = "😀 海淀 \x00 \u2028 é \ufffd"
OLD_TABLE = (
    "CREATE TABLE appbuilder_session_messages (id varchar(36) PRIMARY KEY, session_id varchar(36) NOT NULL, "
    "request_id varchar(36) NOT NULL, message_key varchar(128) NOT NULL, message_value {value} NOT NULL, "
    "created_at datetime NOT NULL, updated_at datetime NOT NULL, deleted boolean NOT NULL) "
    "CHARACTER SET {charset}"
)


def reads_back(store: SqlStore) -> None:
    """Text as a message, a key, an owner, a title."""
    store.prepare_service()
    store.commit(turn("session", ("query", TEXT), ("问题😀", {"in 😀": TEXT})))
    store.commit(entry_turn("listed 😀", "user:😀", f"title {TEXT}", ("query", TEXT), input=TEXT))
    assert contents(store, "session") == contents(store, "listed 😀") == [TEXT]
    assert contents(store, "session", "问题😀") == [{"in 😀": TEXT}]
    assert contents(store, "session", "a\0b") == contents(store, "a\0b") == []
    (listed,) = store.repository().page(["user:😀"], search="😀").conversations
    assert listed.session_id == "listed 😀"
    assert listed.title.startswith("title 😀 海淀")


def test_every_text_reads_back(database_url: URL, opened: Opener) -> None:
    reads_back(opened(database_url))


def test_postgres_whatever_the_url_says(postgres: PostgresServer, opened: Opener) -> None:
    query = {"client_encoding": "latin1", "options": "-c client_encoding=latin1"}
    reads_back(opened(postgres.new_database().update_query_dict(query)))


def test_postgres_whatever_the_environment_and_the_database_say(
    postgres: PostgresServer, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.new_database()
    postgres.execute(f"ALTER DATABASE {url.database} SET client_encoding = 'latin1'")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGOPTIONS", "-c client_encoding=latin1")
    reads_back(opened(url))


@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_CN"])
def test_a_postgres_database_of_another_encoding_is_refused(
    encoding: str, postgres: PostgresServer, opened: Opener
) -> None:
    name = f"in_{encoding.lower()}"
    postgres.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(ConfigurationError, match=f"the encoding {encoding}, which cannot hold every text"):
        opened(postgres.url(name)).prepare()


def test_a_postgres_database_that_stores_bytes(postgres: PostgresServer, opened: Opener) -> None:
    postgres.execute("CREATE DATABASE in_ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    reads_back(opened(postgres.url("in_ascii")))


def test_a_postgres_table_with_jsonb_is_put_right(postgres: PostgresServer, opened: Opener) -> None:
    url = postgres.new_database()
    opened(url).prepare_service()
    execute(url, "ALTER TABLE appbuilder_session_messages ALTER COLUMN message_value TYPE jsonb")
    reads_back(opened(url))


def test_mariadb_whatever_the_url_says(mariadb: MariaServer, opened: Opener) -> None:
    query = {"charset": "utf8", "use_unicode": "0", "collation": "latin1_swedish_ci",
             "init_command": "SET NAMES latin1", "sql_mode": "ANSI"}
    reads_back(opened(mariadb.new_database().update_query_dict(query)))


def test_a_message_too_long_for_a_statement_of_mariadb(mariadb: MariaServer, opened: Opener) -> None:
    store = opened(mariadb.new_database())
    store.commit(turn("s", ("query", "x" * 9_000_000)))
    # Each quote is escaped in JSON, and what escapes it in SQL.
    with pytest.raises(ValueNotStorable, match="raise its max_allowed_packet"):
        store.commit(turn("s", ("query", '"' * 5_000_000)))
    store.commit(turn("s", ("query", "short")))
    assert [len(each) for each in contents(store, "s")] == [9_000_000, 5]


@pytest.mark.parametrize(("charset", "value"), [("latin1", "longtext"), ("utf8mb3", "json"), ("gbk", "text")])
def test_a_mariadb_table_of_another_charset_is_put_right(
    charset: str, value: str, mariadb: MariaServer, opened: Opener
) -> None:
    url = mariadb.new_database()
    mariadb.execute(f"ALTER DATABASE {url.database} CHARACTER SET {charset}")
    execute(
        url, OLD_TABLE.format(charset=charset, value=value),
        "INSERT INTO appbuilder_session_messages VALUES ('i', 'old', 'r', 'query', '{\"content\": \"e\"}', "
        "'2024-01-02', '2024-01-02', 0)",
    )
    store = opened(url)
    reads_back(store)
    assert contents(store, "old") == ["e"]
    store.commit(turn("long", ("query", "x" * 100_000)))
    assert contents(store, "long") == ["x" * 100_000]


def test_a_sqlite_file_in_utf_16(tmp_path: Path, opened: Opener) -> None:
    url = f"sqlite:///{tmp_path}/wide.db"
    execute(url, "PRAGMA encoding='UTF-16'", "CREATE TABLE other (x)")
    reads_back(opened(url))
