# ruff: noqa: S608 - only marks and names are put into statements, never a value
"""The SQL of the conversation repository, written once per database; and the indexes it needs, and
FlaskRuntime does not.

The indexes are made when a chat page starts
(:meth:`appbuilder.store.sessions.session_store.SqlStore.prepare_conversations`). SQLite and PostgreSQL leave
the components' rows out of the index of conversations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from appbuilder.core.conversations import CONVERSATION_PREFIX, FEEDBACK_KEY, LOGOUT_KEY, OUTLINED
from appbuilder.core.store import TURN_KEY
from appbuilder.store.conversations import row_values
from appbuilder.store.sessions.message_table import HISTORY_INDEX, SESSION_INDEX, TABLE
from appbuilder.store.sessions.statements import COLUMNS, NOT_OURS

_ID_BEGIN = row_values.row_id("")[:8]
_LOGOUT_BEGIN = row_values.logout_id("")[:8]
CONVERSATIONS_INDEX = "ix_appbuilder_conversations"
"""`page`: the conversations of an owner by the time of their newest turn."""
EVERYBODY_INDEX = "ix_appbuilder_everybody"
"""`page`: all conversations by the time of their newest turn, for administrators of the service."""
ACTIVITY_INDEX = "ix_appbuilder_activity"
"""`changed`: the sessions components wrote to of late. SQLite knows that from the order of its rows."""

_IS_CONVERSATION = f"substr(message_key, 1, {len(CONVERSATION_PREFIX)}) = '{CONVERSATION_PREFIX}'"
_TURNS = f"({NOT_OURS} OR message_key = '{TURN_KEY}')"
"""What is, or tells of, a turn: neither conversations' own rows nor ratings."""
_OF_TURNS = f"(NOT {_IS_CONVERSATION} AND message_key <> '{FEEDBACK_KEY}')"
"""What was written with a turn, be it only the application's conversation, where no history is kept."""

SQLITE_INDEXES: Mapping[str, str] = {
    # With all that is listed and searched, so that the table itself is not read.
    CONVERSATIONS_INDEX: "(message_key, updated_at, id, message_value, session_id, created_at, deleted) "
    f"WHERE {_IS_CONVERSATION} AND deleted = 0",
}
POSTGRES_INDEXES: Mapping[str, str] = {
    CONVERSATIONS_INDEX: f"(message_key, updated_at, id) WHERE {_IS_CONVERSATION} AND deleted = false",
    ACTIVITY_INDEX: f"(created_at, session_id) WHERE {NOT_OURS}",
}
MYSQL_INDEXES: Mapping[str, str] = {
    CONVERSATIONS_INDEX: "(message_key, deleted, updated_at, id)",
    ACTIVITY_INDEX: "(created_at, session_id, message_key)",
}

SERVICE_INDEXES: Mapping[str, Mapping[str, str]] = {
    # With all that is listed, so that it looks better to SQLite than that of owners, and a sort.
    "sqlite": {
        EVERYBODY_INDEX: "(updated_at, id, message_value, session_id, created_at, message_key, deleted) "
        f"WHERE {_IS_CONVERSATION} AND deleted = 0"
    },
    "postgresql": {EVERYBODY_INDEX: f"(updated_at, id) WHERE {_IS_CONVERSATION} AND deleted = false"},
    "mysql": {EVERYBODY_INDEX: "(deleted, updated_at, id, message_key)"},
}
"""Made where the service runs, and by no other."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the databases."""

    mark: str
    value: str = "message_value"
    """The JSON value as text."""
    false: str = "0"
    changed: str = f"{TABLE} WHERE created_at >= {{mark}}"
    """Where the messages since a mark are found; other indexes look better to a planner that has to group."""
    conversations: str = _IS_CONVERSATION
    """What tells conversations' own rows from all others to a search, which has to look at all of them."""
    searched: str = TABLE
    """Where a search for everybody's conversations goes through them."""
    contains: str = "instr({text}, {mark}) > 0"
    folded: str = "json_extract(message_value, '$.folded')"
    ignore: str = " ON CONFLICT (id) DO NOTHING"
    replace: str = (
        " ON CONFLICT (id) DO UPDATE SET message_value = excluded.message_value, "
        "updated_at = excluded.updated_at, deleted = excluded.deleted"
    )


SQLITE = Dialect("?", changed=f"{TABLE} NOT INDEXED WHERE rowid > {{mark}}")
POSTGRES = Dialect(
    "%s",
    value="message_value::text",
    false="false",
    contains="strpos({text}, {mark}) > 0",
    folded="message_value ->> 'folded'",
    # With an upper bound a planner that knows nothing of the table yet expects few rows.
    changed=f"{TABLE} WHERE created_at >= {{mark}} AND created_at < '9999-01-01'",
)
MYSQL = Dialect(
    "%s",
    # Their ids begin alike, so that they lie side by side: to sort what is found there took a thirtieth of
    # the time that it took to look each up, in order, from the other index.
    searched=f"{TABLE} FORCE INDEX (PRIMARY)",
    conversations=f"id >= '{_ID_BEGIN}-' AND id < '{_ID_BEGIN}.' AND {_IS_CONVERSATION}",
    changed=f"{TABLE} IGNORE INDEX ({SESSION_INDEX.name}, {HISTORY_INDEX.name}) "
    "WHERE created_at >= {mark}",
    folded="json_unquote(json_extract(message_value, '$.folded'))",
    ignore=" ON DUPLICATE KEY UPDATE id = VALUES(id)",
    replace=" ON DUPLICATE KEY UPDATE message_value = VALUES(message_value), "
    "updated_at = VALUES(updated_at), deleted = VALUES(deleted)",
)


class ConversationSql:
    """The statements of one dialect; each names its parameters, its answer and the index that serves it."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        mark, value, alive = dialect.mark, dialect.value, f"deleted = {dialect.false}"
        of_session = f"FROM {TABLE} WHERE session_id = {mark} AND {alive} AND"
        self.conversation = (
            f"SELECT {value}, created_at, updated_at FROM {TABLE} WHERE id = {mark} AND {alive}"
        )
        """row id -> value, created_at, updated_at; the primary key."""
        self.owner = (
            f"SELECT {value} FROM {TABLE} WHERE id = {mark} AND {alive} UNION ALL SELECT * FROM "
            f"(SELECT NULL FROM {TABLE} WHERE session_id = {mark} AND {alive} LIMIT 1) AS anything"
        )
        """row id, session id -> value, and NULL where the session has any row; the primary key and
        ix_appbuilder_session."""
        self.latest = (
            f"SELECT session_id, created_at {of_session} {_OF_TURNS} "
            "ORDER BY created_at DESC, id DESC LIMIT 1"
        )
        """session id -> session id, created_at of its newest turn; ix_appbuilder_session."""
        self.origin = (
            f"SELECT session_id, request_id, {value}, created_at {of_session} {NOT_OURS} "
            "ORDER BY created_at, id LIMIT 1"
        )
        """session id -> session id, request id, value, created_at of its first message;
        ix_appbuilder_session."""
        short = f"CASE WHEN length({value}) <= {OUTLINED} THEN {value} END"
        self.short_origin = self.origin.replace(value, short, 1)
        """As ``origin``; instead of a long value NULL."""
        self.turn = f"SELECT session_id, request_id FROM {TABLE} WHERE id = {mark} AND {alive} AND {_TURNS}"
        """row id of a turn -> session id, request id; the primary key."""
        self.set_value = f"UPDATE {TABLE} SET message_value = {mark} WHERE id = {mark}"
        self.drop = f"UPDATE {TABLE} SET deleted = NOT {dialect.false} WHERE id = {mark} AND {alive}"
        """row id."""
        self.drop_session = (
            f"UPDATE {TABLE} SET deleted = NOT {dialect.false} WHERE session_id = {mark} AND {alive}"
        )
        """session id; ix_appbuilder_session."""
        self.touch_sql = (
            f"UPDATE {TABLE} SET updated_at = {mark} WHERE id = {mark} AND {alive} AND updated_at < {mark}"
        )
        """time, row id, time; the primary key."""
        insert = f"INSERT INTO {TABLE} ({COLUMNS}) VALUES {self._marks(8)}"
        self.insert_missing = insert + dialect.ignore
        """The eight columns; a row that is there stays as it is."""
        self.replace = insert + dialect.replace
        """The eight columns; a row that is there gets value, updated_at and deleted."""
        self.logout = f"SELECT 1 FROM {TABLE} WHERE id = {mark} AND message_key = '{LOGOUT_KEY}'"
        """row id; the primary key."""
        self.drop_logouts = (
            f"DELETE FROM {TABLE} WHERE id >= '{_LOGOUT_BEGIN}-' AND id < '{_LOGOUT_BEGIN}.' "
            f"AND message_key = '{LOGOUT_KEY}' AND updated_at < {mark}"
        )
        """time; the primary key."""
        newest = f"SELECT session_id, max(created_at) FROM {TABLE}"
        in_order = f"GROUP BY session_id ORDER BY session_id LIMIT {mark}"
        self.sessions = f"{newest} {in_order}"
        """limit -> session id, time of its last row; ix_appbuilder_session."""
        self.more_sessions = f"{newest} WHERE session_id > {mark} {in_order}"
        """session id, limit; as ``sessions``, those after that one."""
        self.changed = (
            f"SELECT session_id, max(created_at) FROM {dialect.changed.format(mark=mark)} AND {NOT_OURS} "
            "GROUP BY session_id"
        )
        """time, in SQLite row number -> session id, time of its last message since; ix_appbuilder_activity,
        in SQLite the table itself."""

        self.newest = (
            f"SELECT created_at FROM {TABLE} WHERE created_at <= {mark} AND {NOT_OURS} "
            "ORDER BY created_at DESC LIMIT 1"
        )
        """time -> that of the newest message before it; ix_appbuilder_activity."""

        self._for_rows()
        self._for_removal()

    def _for_rows(self) -> None:
        mark, value = self._dialect.mark, self._dialect.value
        of_session = f"FROM {TABLE} WHERE session_id = {mark} AND deleted = {self._dialect.false} AND"
        all_rows = (
            f"SELECT id, request_id, message_key, {value}, created_at {of_session} NOT {_IS_CONVERSATION}"
        )
        newest_first = f" ORDER BY created_at DESC, id DESC LIMIT {mark}"
        older = f" AND created_at <= {mark} AND (created_at < {mark} OR id < {mark}){newest_first}"
        self.rows = all_rows + newest_first
        """session id, limit -> the rows, newest first; ix_appbuilder_session."""
        self.older_rows = all_rows + older
        """session id, time, time, row id, limit -> as ``rows``, those before that one."""
        small = f"CASE WHEN length({value}) <= {mark} THEN {value} END"
        self.outline = self.rows.replace(value, small, 1)
        """characters, session id, limit -> as ``rows``; instead of a longer value NULL."""
        self.older_outline = self.older_rows.replace(value, small, 1)
        """As ``older_rows``, likewise."""
        self.bare = self.rows.replace(value, "NULL", 1)
        """As ``rows``, without the values: even to know its length a database may read a value."""
        self.older_bare = self.older_rows.replace(value, "NULL", 1)
        """As ``older_rows``, likewise."""
        self.first_rows = f"{all_rows} ORDER BY created_at, id LIMIT {mark}"
        """session id, limit -> the rows, oldest first; ix_appbuilder_session."""
        self.next_rows = (
            f"{all_rows} AND created_at >= {mark} AND (created_at > {mark} OR id > {mark}) "
            f"ORDER BY created_at, id LIMIT {mark}"
        )
        """session id, time, time, row id, limit -> as ``first_rows``, those after that one."""

    def _for_removal(self) -> None:
        mark, value = self._dialect.mark, self._dialect.value
        self.stale = (
            f"SELECT session_id FROM {TABLE} WHERE {_OF_TURNS} AND session_id > {mark} "
            f"GROUP BY session_id HAVING max(created_at) < {mark} ORDER BY session_id LIMIT {mark}"
        )
        """session id, time, limit -> session ids after that one, whose newest turn, deleted or not, is older;
        ix_appbuilder_history."""
        self.newest_turn = f"SELECT max(created_at) FROM {TABLE} WHERE session_id = {mark} AND {_OF_TURNS}"
        """session id -> time of its newest turn, deleted or not; ix_appbuilder_history."""
        self.owned = f"SELECT session_id FROM {TABLE} WHERE message_key = {mark} AND {_IS_CONVERSATION}"
        """key -> session ids, also of deleted conversations: SQLite and PostgreSQL go through the table."""
        self.is_owned = f"SELECT 1 FROM {TABLE} WHERE id = {mark} AND message_key = {mark}"
        """row id, key; the primary key."""
        self.some_ids = (
            f"SELECT id, length({value}) FROM {TABLE} WHERE session_id = {mark} AND id <> {mark} "
            f"ORDER BY created_at, id LIMIT {mark}"
        )
        """session id, row id, limit -> ids and sizes of its oldest rows, without that one;
        ix_appbuilder_session."""
        self.drop_until = f"{self.drop_session} AND id <> {mark} AND created_at <= {mark}"
        """session id, row id, time: all but that row up to that time; ix_appbuilder_session."""
        self.sizes_alive = (
            f"SELECT created_at, length({value}) FROM {TABLE} WHERE session_id = {mark} AND id <> {mark} "
            f"AND deleted = {self._dialect.false} ORDER BY created_at, id LIMIT {mark}"
        )
        """session id, row id, limit -> time and size of its oldest rows, without that one;
        ix_appbuilder_session."""

    def page(self, *, search: bool, older: bool, everybody: bool = False) -> str:
        """key[, search text as in JSON, search text][, time, time, row id], limit -> session id, value,
        created_at, updated_at, id, newest first; ix_appbuilder_conversations.

        :param everybody: without a key; ix_appbuilder_everybody.
        """
        dialect = self._dialect
        mark = dialect.mark
        whose = f"message_key = {mark} AND {_IS_CONVERSATION}"
        if everybody:
            whose = dialect.conversations if search else _IS_CONVERSATION
        table = dialect.searched if everybody and search else TABLE
        where = f"{whose} AND deleted = {dialect.false}"
        if search:
            # A look into the raw text spares nearly all rows the reading of their JSON; PostgreSQL would
            # begin with what looks cheaper to it.
            raw, folded = (
                dialect.contains.format(text=text, mark=mark) for text in (dialect.value, dialect.folded)
            )
            where += f" AND CASE WHEN {raw} THEN {folded} ELSE {dialect.false} END"
        if older:
            where += f" AND updated_at <= {mark} AND (updated_at < {mark} OR id < {mark})"
        return (
            f"SELECT session_id, {dialect.value}, created_at, updated_at, id FROM {table} WHERE {where} "
            f"ORDER BY updated_at DESC, id DESC LIMIT {mark}"
        )

    def states(self, count: int) -> str:
        """*count* row ids -> id, updated_at, deleted; the primary key."""
        return f"SELECT id, updated_at, deleted FROM {TABLE} WHERE id IN {self._marks(count)}"

    def own_turns(self, count: int) -> str:
        """key, *count* row ids -> id, request id, key, value, created_at, session id; the primary key."""
        dialect = self._dialect
        return (
            f"SELECT id, request_id, message_key, {dialect.value}, created_at, session_id FROM {TABLE} WHERE "
            f"message_key = {dialect.mark} AND id IN {self._marks(count)} AND deleted = {dialect.false}"
        )

    def sizes(self, statement: str) -> str:
        """A *statement* that gives rows with their values, asked for the bytes of each value alone."""
        return f"SELECT octet_length({self._dialect.value}) {statement[statement.index('FROM ') :]}"

    def values(self, count: int) -> str:
        """*count* row ids -> values; the primary key."""
        alive = f"deleted = {self._dialect.false}"
        return f"SELECT {self._dialect.value} FROM {TABLE} WHERE id IN {self._marks(count)} AND {alive}"

    def remove(self, count: int) -> str:
        """*count* row ids; the primary key."""
        return f"DELETE FROM {TABLE} WHERE id IN {self._marks(count)}"

    def insert(self, count: int) -> str:
        """The eight columns, *count* times."""
        return f"INSERT INTO {TABLE} ({COLUMNS}) VALUES {', '.join([self._marks(8)] * count)}"

    def _marks(self, count: int) -> str:
        return f"({', '.join([self._dialect.mark] * count)})"

    @staticmethod
    def each(statement: str, count: int) -> str:
        """A *statement* about one session, asked about *count* at once."""
        return " UNION ALL ".join([f"SELECT * FROM ({statement}) AS each_{n}" for n in range(count)])
