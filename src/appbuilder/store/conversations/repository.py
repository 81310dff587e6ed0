"""The conversation repository of a SQL database: lists of conversations, and what is done with one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy.engine import URL

from appbuilder import clock, jsontext
from appbuilder.core.conversations import (
    FEEDBACK_KEY,
    LOGOUT_KEY,
    OUTLINED,
    Conversation,
    ConversationPage,
    NewSession,
    Owner,
    Place,
    Rating,
    SomeRows,
    StoredRow,
)
from appbuilder.core.store import TURN_KEY
from appbuilder.ids import new_id
from appbuilder.logs import logger
from appbuilder.store.conversations import indexer, retention, row_values
from appbuilder.store.conversations.conversation_row import Execute, title_of_row
from appbuilder.store.conversations.imports import Imported, exists
from appbuilder.store.conversations.indexer import ConversationIndexer
from appbuilder.store.conversations.row_values import Cursor
from appbuilder.store.databases.base import Backend
from appbuilder.store.databases.driver_errors import FAILURES, unavailable
from appbuilder.store.sessions import rows
from appbuilder.store.sessions.rows import MAX_LIMIT, is_valid_query

_TURNS_AT_ONCE = 100
_BYTES_AT_ONCE = 1024 * 1024
_VALUE = 3
"""The column of a row's text."""
_TIDIED_EVERY = 3600.0
"""Seconds between one removal of notes that are not needed any more and the next."""


class SqlConversations:
    """A :class:`appbuilder.core.conversations.ConversationRepository` on the connections of a store."""

    def __init__(self, url: URL, live: Callable[[], Backend]) -> None:
        """:param live: the connections of this process."""
        self._url = url
        self._live = live
        self._followers: tuple[Backend, ConversationIndexer] | None = None
        self._tidy_at = 0.0

    def sync(self) -> None:
        """Lists conversations begun over ``POST /chat`` or by the SDK; the first time in all the table."""
        with self._asking("conversations were looked for") as backend:
            self._indexer(backend).sync()

    def page(
        self, owners: Sequence[Owner] | None, *, search: str = "", limit: int = 20, cursor: str | None = None
    ) -> ConversationPage:
        after = Cursor.read(cursor)
        wanted = row_values.fold(" ".join(search.split()))
        if limit <= 0:
            return ConversationPage([], None)
        limit = min(limit, MAX_LIMIT - 1)
        with self._asking("conversations were listed") as backend:
            if owners is None or None in owners:
                self._indexer(backend).sync()
            found: list[tuple[Cursor, Conversation]] = []
            for key in {None} if owners is None else set(map(row_values.owner_key, owners)):
                found += _listed(backend, key, wanted, limit + 1, after)
        return row_values.page_of(found, limit)

    def owner_of(self, session_id: str) -> tuple[bool, Owner]:
        if not is_valid_query(session_id):
            return False, None
        with self._asking("the owner of a session was looked up") as backend:
            parameters = (row_values.row_id(session_id), session_id)
            found = [value for (value,) in backend.read(backend.conversation_sql.owner, parameters)]
            owners = [row_values.owner_in(value) for value in found if value is not None]
            return bool(found), owners[0] if owners else None

    def find(self, session_id: str) -> Conversation | None:
        if not is_valid_query(session_id):
            return None
        sql_id = row_values.row_id(session_id)
        with self._asking("a conversation was looked up") as backend:
            sql, decode = backend.conversation_sql, backend.decode
            latest = backend.read(sql.latest, (session_id,))
            if not latest:
                return None
            newest = decode(latest[0][1])
            for value, created_at, updated_at in backend.read(sql.conversation, (sql_id,)):
                stamp = max(newest, decode(updated_at))
                return row_values.read(session_id, value, decode(created_at), stamp)
            for _, _, value, created_at in backend.read(sql.origin, (session_id,)):
                return Conversation(session_id, None, title_of_row(value), decode(created_at), newest)
        return None

    def rows(self, session_id: str, limit: int, *, before: Place | None = None) -> list[StoredRow]:
        with self._asking("a conversation was read") as backend:
            sql = backend.conversation_sql
            found = _rows_at(backend, (sql.rows, sql.older_rows), session_id, before, limit)
            return list(stored_rows(reversed(found), backend.decode))

    def read_back(self, session_id: str, before: Place | None, limit: int, most_bytes: int) -> SomeRows:
        sql = self._live().conversation_sql
        return self._some((sql.rows, sql.older_rows), session_id, before, limit, most_bytes).reversed()

    def read_on(self, session_id: str, after: Place | None, limit: int, most_bytes: int) -> SomeRows:
        sql = self._live().conversation_sql
        return self._some((sql.first_rows, sql.next_rows), session_id, after, limit, most_bytes)

    def outline(
        self, session_id: str, before: Place | None, limit: int, *, longest: int = OUTLINED
    ) -> SomeRows:
        with self._asking("a conversation was read") as backend:
            sql = backend.conversation_sql
            statements = (sql.outline, sql.older_outline) if longest > 0 else (sql.bare, sql.older_bare)
            first = (longest,) if longest > 0 else ()
            found = list(_rows_at(backend, statements, session_id, before, limit + 1, *first))
            return _some_rows(found[:limit], len(found) > limit, backend.decode).reversed()

    def _some(
        self, statements: tuple[str, str], session_id: str, place: Place | None, limit: int, most_bytes: int
    ) -> SomeRows:
        if limit <= 0 or not is_valid_query(session_id):
            return SomeRows([], None)
        with self._asking("a conversation was read") as backend:
            limit = min(limit, MAX_LIMIT - 1)
            at = () if place is None else (*[backend.encode(place[0])] * 2, place[1])
            parameters = (session_id, *at, limit)
            found, more = backend.read_within(statements[place is not None], parameters, most_bytes, _VALUE)
            return _some_rows(found, more, backend.decode)

    def rename(self, session_id: str, title: str) -> bool:
        def work(execute: Execute, backend: Backend) -> bool:
            if not indexer.ensure_indexed(execute, backend, session_id):
                return False
            sql, row_id = backend.conversation_sql, row_values.row_id(session_id)
            text, *_ = execute(sql.conversation, (row_id,)).fetchone()
            execute(sql.set_value, (row_values.renamed(text, title), row_id))
            return True

        return self._change(session_id, "a conversation was renamed", work)

    def delete(self, session_id: str) -> bool:
        large = True

        def work(execute: Execute, backend: Backend) -> bool:
            nonlocal large
            # Listed first, so that a process that saw it alive cannot list it afterwards.
            if not indexer.ensure_indexed(execute, backend, session_id):
                return False
            large = retention.delete_oldest(execute, backend, session_id)
            if not large:
                execute(backend.conversation_sql.drop_session, (session_id,))
            return True

        while True:
            began = clock.monotonic()
            there = self._change(session_id, "a conversation was deleted", work)
            if not there or not large:
                return there
            time.sleep(max(retention.PAUSE, clock.monotonic() - began))

    def erase(self, owner: Owner) -> int:
        return sum(self.erasing(owner))

    def erasing(self, owner: Owner) -> Iterator[int]:
        with self._asking("a user's conversations were removed") as backend:
            if owner is None:
                self._indexer(backend).sync()
            yield from retention.erase(backend, row_values.owner_key(owner))

    def prune(self, before: datetime) -> int:
        with self._asking("old conversations were removed") as backend:
            return retention.prune(backend, before)

    def import_rows(self, session_id: str, owner: Owner, title: str, rows: Sequence[StoredRow]) -> None:
        if not all(self.import_sessions([NewSession(session_id, owner, title, rows)])):
            raise exists()

    def import_sessions(self, sessions: Sequence[NewSession]) -> Sequence[bool]:
        found = [Imported.of(each.session_id, each.owner, each.title, each.rows) for each in sessions]
        with self._asking("conversations were imported") as backend:
            works = [(each.session_id, partial(each.insert, backend=backend)) for each in found]
            return backend.change_each(works)

    def tokens_since(self, session_id: str, since: datetime) -> int:
        with self._asking("tokens were counted") as backend:
            total, after = 0, None
            while True:
                place = () if after is None else (after[0], *after)
                sql = backend.sql.page if after is None else backend.sql.older_page
                parameters = (session_id, TURN_KEY, *place, _TURNS_AT_ONCE)
                found, more = backend.read_within(sql, parameters, _BYTES_AT_ONCE, 0)
                recent = [value for value, at, _ in found if backend.decode(at) >= since]
                total += sum(map(row_values.tokens_of, recent))
                if not more or len(recent) < len(found):
                    return total
                after = found[-1][1:]

    def conversation_of(self, turn_id: str) -> str | None:
        if not is_valid_query(turn_id):
            return None
        with self._asking("a turn was looked up") as backend:
            found = backend.read(backend.conversation_sql.turn, (turn_id,))
            return found[0][0] if found else None

    def own_turns(self, turn_ids: Sequence[str]) -> Mapping[str, tuple[str, StoredRow]]:
        ids = [each for each in turn_ids if is_valid_query(each)]
        found: list[Any] = []
        with self._asking("turns were looked up") as backend:
            for some in rows.chunks(ids, _TURNS_AT_ONCE):
                found += backend.read(backend.conversation_sql.own_turns(len(some)), (TURN_KEY, *some))
            sessions = {row[0]: row[5] for row in found}
            rows_found = stored_rows((row[:5] for row in found), backend.decode)
            return {row.id: (sessions[row.id], row) for row in rows_found}

    def rate(self, turn_id: str, rating: Rating) -> bool:
        def work(execute: Execute, backend: Backend) -> bool:
            sql = backend.conversation_sql
            turn = execute(sql.turn, (turn_id,)).fetchone()
            if turn is None:
                return False
            newest = execute(backend.sql.newest, (turn[0],)).fetchone()
            at = backend.encode(rows.first_stamp(clock.now(), max(map(backend.decode, newest))))
            text = row_values.rating_text(turn_id, rating)
            row_id = row_values.rating_id(turn_id)
            execute(sql.replace, (row_id, *turn, FEEDBACK_KEY, text, at, at, False))
            return True

        return self._change(self.conversation_of(turn_id), "a rating was written", work)

    def ratings(self, turn_ids: Sequence[str]) -> Mapping[str, Rating]:
        if not turn_ids:
            return {}
        ids = tuple(map(row_values.rating_id, turn_ids))
        with self._asking("ratings were read") as backend:
            found = backend.read(backend.conversation_sql.values(len(ids)), ids)
        return dict(row_values.rating_of(rows.parse(value)) for (value,) in found)

    def unrate(self, turn_id: str) -> bool:
        def work(execute: Execute, backend: Backend) -> bool:
            drop = backend.conversation_sql.drop
            return bool(execute(drop, (row_values.rating_id(turn_id),)).rowcount)

        return self._change(self.conversation_of(turn_id), "a rating was taken back", work)

    def end_login(self, login: str, until: datetime) -> None:
        row_id = row_values.logout_id(login)
        with self._asking("the end of a login was written") as backend:
            sql, at = backend.conversation_sql, backend.encode(until)
            # A session of its own, whose id cannot be guessed: what is deleted with one would end this note.
            row = (row_id, new_id(), new_id(), LOGOUT_KEY, "{}", at, at, False)
            backend.transact(lambda connection: connection.exec_driver_sql(sql.replace, row))
            if clock.monotonic() >= self._tidy_at:
                self._tidy_at = clock.monotonic() + _TIDIED_EVERY
                now = (backend.encode(clock.now()),)
                backend.transact(lambda connection: connection.exec_driver_sql(sql.drop_logouts, now))

    def is_ended(self, login: str) -> bool:
        with self._asking("a login was looked up") as backend:
            return bool(backend.read(backend.conversation_sql.logout, (row_values.logout_id(login),)))

    def _change(
        self, session_id: str | None, doing: str, work: Callable[[Execute, Backend], bool]
    ) -> bool:
        """*work* in a transaction under the session's lock."""
        if session_id is None or not is_valid_query(session_id):
            return False
        with self._asking(doing) as backend:
            return backend.change(session_id, lambda execute: work(execute, backend))

    def _indexer(self, backend: Backend) -> ConversationIndexer:
        """That of this process: in a forked one no one holds the lock of its parent's."""
        known = self._followers
        if known is None or known[0] is not backend:
            known = self._followers = (backend, ConversationIndexer(backend))
        return known[1]

    @contextmanager
    def _asking(self, doing: str) -> Iterator[Backend]:
        backend = self._live()
        try:
            yield backend
        except FAILURES as error:
            raise unavailable(error, self._url, doing) from None


def _listed(
    backend: Backend, key: str | None, wanted: str, limit: int, after: Cursor | None
) -> Iterator[tuple[Cursor, Conversation]]:
    sql = backend.conversation_sql.page(search=bool(wanted), older=after is not None, everybody=key is None)
    parameters: list[Any] = [] if key is None else [key]
    if wanted:
        parameters += [jsontext.dumps(wanted).decode()[1:-1], wanted]
    if after is not None:
        stamp = backend.encode(after.updated_at)
        parameters += [stamp, stamp, after.row_id]
    for session_id, value, created_at, updated_at, row_id in backend.read(sql, (*parameters, limit)):
        created, updated = backend.decode(created_at), backend.decode(updated_at)
        yield Cursor(updated, row_id), row_values.read(session_id, value, created, updated)


def _rows_at(
    backend: Backend,
    statements: tuple[str, str],
    session_id: str,
    place: Place | None,
    limit: int,
    *first: Any,
) -> Sequence[Any]:
    """:param statements: without a place, and from one on.
    :param first: parameters before the session.
    """
    if limit <= 0 or not is_valid_query(session_id):
        return []
    limit = min(limit, MAX_LIMIT)
    if place is None:
        return backend.read(statements[0], (*first, session_id, limit))
    at = backend.encode(place[0])
    return backend.read(statements[1], (*first, session_id, at, at, place[1], limit))


def _some_rows(found: Sequence[Any], more: bool, decode: Callable[[Any], Any]) -> SomeRows:
    place = (decode(found[-1][4]), found[-1][0]) if more else None
    return SomeRows(list(stored_rows(found, decode)), place)


def stored_rows(found: Any, decode: Callable[[Any], Any]) -> Iterator[StoredRow]:
    """Rows of id, request id, key, value, created_at; damaged ones are left out."""
    for row_id, request_id, key, value, created_at in found:
        try:
            size = sys.getsizeof(value)
            yield StoredRow(row_id, request_id, key, rows.parse(value), decode(created_at), size)
        except ValueError:
            logger.warning("row %s of the conversations is not JSON; it is left out", row_id)
