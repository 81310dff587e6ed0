"""What a catalogue promises, on memory, SQLite, PostgreSQL and MariaDB alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.memory_store import MemoryStore
from tests.services.fixtures import DATABASES, empty_database
from tests.store.helpers import add, contents, entry_turn, turn

from appbuilder import clock
from appbuilder.core.conversations import (
    FEEDBACK_KEY,
    OUTLINED,
    Conversation,
    ConversationRepository,
    ConversationStore,
    Owner,
    Rating,
    SomeRows,
    StoredRow,
    all_conversations,
    title_of,
)
from appbuilder.core.store import TURN_KEY
from appbuilder.errors import InvalidRequest
from appbuilder.ids import new_id
from appbuilder.settings import Settings
from appbuilder.store.conversations import retention
from appbuilder.store.conversations.row_values import logout_id
from appbuilder.store.databases.urls import parse
from appbuilder.store.sessions.session_store import SqlStore


@pytest.fixture(scope="module", params=["memory", "sqlite in memory", *DATABASES])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ConversationStore]:
    """One of each kind for all tests, which keep apart by their owners, sessions and words."""
    found: ConversationStore
    if request.param == "memory":
        found = MemoryStore()
    elif request.param == "sqlite in memory":
        found = SqlStore(parse("sqlite://"), Settings())
    else:
        url = empty_database(request, request.param, tmp_path_factory.mktemp("db"))
        found = SqlStore(parse(url), Settings(db_timeout=5.0))
    found.prepare_conversations()
    yield found
    found.close()


@pytest.fixture
def repository(store: ConversationStore) -> ConversationRepository:
    return store.repository()


@pytest.fixture
def owner() -> str:
    """Somebody who has no conversations yet; also a word nobody else uses."""
    return new_id().replace("-", "")


def begin(store: ConversationStore, owner: str, title: str = "Hello", **more: Any) -> str:
    """A conversation of one turn."""
    session_id = new_id()
    store.commit(entry_turn(session_id, owner, title, ("query", title), **more))
    return session_id


def titles(repository: ConversationRepository, *owners: Owner, **how: Any) -> list[str]:
    return [each.title for each in repository.page(owners, **how).conversations]


def test_nobody_has_nothing(repository: ConversationRepository, owner: str) -> None:
    assert repository.page([owner]).conversations == []
    assert repository.page([owner]).next is None
    assert repository.page([]).conversations == []


def test_the_newest_turn_comes_first(
    store: ConversationStore, repository: ConversationRepository, owner: str
) -> None:
    ids = [begin(store, owner, f"number {n}") for n in range(4)]
    store.commit(entry_turn(ids[1], owner, "other", ("query", "more")))
    assert titles(repository, owner) == ["number 1", "number 3", "number 2", "number 0"]
    assert titles(repository, owner, limit=2) == ["number 1", "number 3"]


def test_what_is_told_of_a_conversation(
    store: ConversationStore, repository: ConversationRepository, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = datetime(2099, 1, 2, 3, 4, 5, 678901)
    monkeypatch.setattr(clock, "now", lambda: began)
    session_id = begin(store, owner)
    monkeypatch.setattr(clock, "now", lambda: began + timedelta(days=1))
    store.commit(entry_turn(session_id, owner, "x"))
    told = Conversation(session_id, owner, "Hello", began, began + timedelta(days=1))
    assert repository.page([owner]).conversations == [told]
    assert repository.find(session_id) == told
    assert repository.find(new_id()) is None


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 2**40])
def test_pages(
    store: ConversationStore,
    repository: ConversationRepository,
    owner: str,
    limit: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # All at one time, so that only the row id can tell where a page ends.
    moment = clock.now()
    monkeypatch.setattr(clock, "now", lambda: moment)
    whose = [owner, owner + "-2"]
    ids = {begin(store, whose[n % 2], f"n {n}") for n in range(7)}
    found: list[str] = []
    cursor, pages = None, 0
    while True:
        page = repository.page(whose, limit=limit, cursor=cursor)
        found += [each.session_id for each in page.conversations]
        cursor, pages = page.next, pages + 1
        if cursor is None:
            break
        assert len(page.conversations) == limit
    assert len(found) == 7
    assert set(found) == ids
    assert pages == -(-7 // limit)


@pytest.mark.parametrize("limit", [0, -1, -(2**70)])
def test_no_limit_no_page(
    store: ConversationStore, repository: ConversationRepository, owner: str, limit: int
) -> None:
    session_id = begin(store, owner)
    assert repository.page([owner], limit=limit).conversations == []
    assert repository.rows(session_id, limit) == []


@pytest.mark.parametrize("cursor", [
    "", "x", "2026-01-01T00:00:00.000000~", "2026-13-01T00:00:00.000000~" + "a" * 36,
    "2026-01-01T00:00:00.000000~' OR 1=1 --", "२०२६-01-01T00:00:00.000000~" + "a" * 36,
])
def test_a_foreign_cursor(repository: ConversationRepository, cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        repository.page(["x"], cursor=cursor)


@pytest.mark.parametrize(("title", "words"), [
    ("Weather in Paris", ["weather", "PARIS", "r in p", "", "  Weather "]),
    ("今天北京的天气怎么样", ["天气", "北京的", "今天"]),
    ("100% sure_fire \\ \"quoted\" 'x' %s", ["100%", "%", "_", "\\", '"quoted', "'x'", "%s", '\\ "']),
    ("Ärger mit ΟΔΟΣ und Straße", ["ärger", "ÄRGER", "οδος", "STRASSE"]),
    ("Ｆｕｌｌ　Width １２", ["full", "FULL WIDTH 12"]),
    ("emoji 😀 here", ["😀", "EMOJI 😀"]),
])
def test_search_finds(
    store: ConversationStore, repository: ConversationRepository, owner: str, title: str, words: list[str]
) -> None:
    begin(store, owner, title)
    begin(store, owner, "something different")
    for word in words:
        assert title_of(title) in titles(repository, owner, search=word), word
        assert titles(repository, owner + "-2", search=word) == []


@pytest.mark.parametrize("word", [
    "%x", "W%r", "W_ather", "weather%", "\\", '"', "folded", "owner", "title", "\\u", "á",
    "\x00zzz", "\ud800zzz",
])
def test_search_does_not_find(
    store: ConversationStore, repository: ConversationRepository, owner: str, word: str
) -> None:
    begin(store, owner, "Weather a")
    assert titles(repository, owner, search=word) == []


def test_search_comes_in_pages(
    store: ConversationStore, repository: ConversationRepository, owner: str
) -> None:
    for number in range(9):
        begin(store, owner, f"{'even' if number % 2 == 0 else 'odd'} {number}")
    first = repository.page([owner], search="EVEN", limit=3)
    assert [each.title for each in first.conversations] == ["even 8", "even 6", "even 4"]
    assert titles(repository, owner, search="EVEN", limit=3, cursor=first.next) == ["even 2", "even 0"]


@pytest.mark.parametrize("name", ["名" * 3000, "a\x00b", "", "' OR 1=1 --", "A", "a ", "é", "e\u0301", "[]"])
def test_owners_are_opaque(
    store: ConversationStore, repository: ConversationRepository, owner: str, name: str
) -> None:
    mine = begin(store, owner + name, "mine")
    begin(store, owner + name + "x", "not mine")
    begin(store, owner + name.upper() + ".", "not mine")
    assert titles(repository, owner + name) == ["mine"]
    assert titles(repository, owner + name, search="mi") == ["mine"]
    found = repository.find(mine)
    assert found is not None
    assert found.owner == owner + name


def test_history_is_not_disturbed(
    store: ConversationStore, repository: ConversationRepository, owner: str
) -> None:
    session_id = begin(store, owner, "one")
    turn_id = turn_of(repository, session_id)
    assert repository.rename(session_id, "two")
    assert repository.rate(turn_id, Rating(True))
    add(store, session_id, "chat")
    store.commit(entry_turn(session_id, owner, "x", ("query", "three")))
    assert contents(store, session_id) == ["one", "chat", "three"]


def test_a_new_name(store: ConversationStore, repository: ConversationRepository, owner: str) -> None:
    older, newer = begin(store, owner, "older"), begin(store, owner, "newer")
    before = repository.find(older)
    assert repository.rename(older, "  天气\nreport\x00  ")
    assert titles(repository, owner) == ["newer", "天气 report"]
    assert titles(repository, owner, search="older") == []
    assert titles(repository, owner, search="天气 R") == ["天气 report"]
    after = repository.find(older)
    assert before is not None
    assert after == Conversation(older, owner, "天气 report", before.created_at, before.updated_at)
    assert repository.rename(newer, "x" * 500)
    assert len(titles(repository, owner)[0]) == 80
    store.commit(entry_turn(older, owner, "not this"))
    assert titles(repository, owner)[0] == "天气 report"
    assert not repository.rename(new_id(), "x")


def test_deletion(store: ConversationStore, repository: ConversationRepository, owner: str) -> None:
    gone, stays = begin(store, owner, "gone"), begin(store, owner, "stays")
    turn_id = turn_of(repository, gone)
    assert repository.rate(turn_id, Rating(True))
    assert repository.delete(gone)
    assert titles(repository, owner) == ["stays"]
    assert repository.find(gone) is None
    assert repository.rows(gone, 10) == []
    assert contents(store, gone) == []
    assert repository.conversation_of(turn_id) is None
    assert not repository.rate(turn_id, Rating(True))
    assert not repository.unrate(turn_id)
    assert not repository.rename(gone, "x")
    assert not repository.delete(gone)
    assert not repository.delete(new_id())
    assert contents(store, stays) == ["stays"]


def test_a_deleted_conversation_begins_anew(
    store: ConversationStore, repository: ConversationRepository, owner: str
) -> None:
    session_id = begin(store, owner, "first")
    before = repository.find(session_id)
    assert repository.delete(session_id)
    store.commit(entry_turn(session_id, owner + "-2", "second", ("query", "second")))
    after = repository.find(session_id)
    assert before is not None
    assert after is not None
    assert (after.owner, after.title) == (owner + "-2", "second")
    assert after.created_at > before.updated_at
    assert titles(repository, owner) == []
    assert titles(repository, owner + "-2") == ["second"]
    assert contents(store, session_id) == ["second"]


def test_rows(store: ConversationStore, repository: ConversationRepository, owner: str) -> None:
    session_id = begin(store, owner, "one", answer={"content": "1"})
    add(store, session_id, "two")
    rows = repository.rows(session_id, 10)
    assert [row.key for row in rows] == ["query", TURN_KEY, "query", "answer"]
    assert rows[0].value == {"content": "one"}
    assert rows[1].value == {"state": "complete", "answer": {"content": "1"}}
    assert rows[0].request_id == rows[1].request_id != rows[2].request_id
    assert [row.created_at for row in rows] == sorted(row.created_at for row in rows)
    assert repository.rows(session_id, 3) == rows[1:]
    assert repository.rows(new_id(), 3) == []
    rated = rows[1].id
    assert repository.rate(rated, Rating(False, "比较差"))
    feedback = repository.rows(session_id, 10)[-1]
    assert feedback.key == FEEDBACK_KEY
    assert feedback.value == {"turn": rated, "good": False, "comment": "比较差"}
    assert feedback.request_id == rows[1].request_id


def in_pages(read: Callable[..., SomeRows], session_id: str, limit: int, most: int) -> list[StoredRow]:
    """All rows in the order they are read in."""
    found, some = [], read(session_id, None, limit, most)
    while True:
        assert 1 <= len(some.rows) <= limit
        found += some.rows[::-1] if read.__name__ == "read_back" else some.rows
        if some.next is None:
            return found
        some = read(session_id, some.next, limit, most)


@pytest.mark.parametrize(("limit", "most"), [(1, 2**30), (2, 2**30), (5, 300), (2**40, 1), (2**40, 2**40)])
def test_rows_in_pages(
    store: ConversationStore,
    repository: ConversationRepository,
    owner: str,
    limit: int,
    most: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moment = clock.now()
    monkeypatch.setattr(clock, "now", lambda: moment)
    session_id = begin(store, owner)
    for number in range(3):
        add(store, session_id, f"number {number}")
    repository.delete(begin(store, owner))
    rows = repository.rows(session_id, 100)
    assert len(rows) == 8
    back: list[Any] = []
    while page := repository.rows(session_id, limit, before=back[0].place if back else None):
        assert len(page) <= limit
        back[:0] = page
    assert back == rows
    assert in_pages(repository.read_back, session_id, limit, most)[::-1] == rows
    assert in_pages(repository.read_on, session_id, limit, most) == rows
    for name, none in ((session_id, 0), ("x" * 37, 3)):
        nothing = repository.read_on(name, None, none, most)
        assert (nothing.rows, nothing.next) == ([], None)
    assert repository.rows(session_id, 0, before=rows[3].place) == []


def test_rows_by_their_size(store: ConversationStore, repository: ConversationRepository, owner: str) -> None:
    """Pages end where the bytes do; a row that is larger comes alone; an outline has no large values."""
    session_id = begin(store, owner)
    for size in (10, 200_000, 10, 900_000, 10, 10):
        add(store, session_id, "x" * size)
    rows = repository.rows(session_id, 100)
    some = repository.read_back(session_id, None, 100, 500_000)
    pages = [some.rows]
    while some.next is not None:
        some = repository.read_back(session_id, some.next, 100, 500_000)
        pages.insert(0, some.rows)
    assert [row for page in pages for row in page] == rows
    sizes = [[row.size for row in page] for page in pages]
    assert all(sum(page) <= 500_000 or len(page) == 1 for page in sizes)
    assert any(sum(page) > 500_000 for page in sizes)
    whole = repository.read_on(session_id, None, 100, 10**9)
    assert (whole.rows, whole.next) == (rows, None)
    outline = repository.outline(session_id, None, len(rows))
    assert outline.next is None
    for row, listed in zip(rows, outline.rows, strict=True):
        assert (row.id, row.request_id, row.key, row.created_at) == (
            listed.id, listed.request_id, listed.key, listed.created_at)
        assert listed.value == (row.value if len(str(row.value)) <= OUTLINED else None)
    assert repository.outline(session_id, rows[-1].place, 3).rows[-1].id == rows[-2].id


def test_a_large_session_goes_in_several_transactions(
    store: ConversationStore, repository: ConversationRepository, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK_BYTES", 300_000)
    names = [begin(store, owner) for _ in range(3)]
    for name in names:
        for _ in range(5):
            add(store, name, "x" * 100_000)
    assert repository.delete(names[0])
    assert not repository.delete(names[0])
    assert repository.rows(names[0], 9) == []
    assert repository.find(names[0]) is None
    steps = list(repository.erasing(owner))
    assert sum(steps) == 3
    if not isinstance(store, MemoryStore):
        assert len(steps) > 6
    assert repository.page([owner]).conversations == []
    assert repository.rows(names[1], 9) == []


def test_ratings(store: ConversationStore, repository: ConversationRepository, owner: str) -> None:
    session_id = begin(store, owner)
    turn_id = turn_of(repository, session_id)
    before = repository.find(session_id)
    assert repository.conversation_of(turn_id) == session_id
    assert not repository.unrate(turn_id)
    assert repository.rate(turn_id, Rating(True))
    assert repository.rate(turn_id, Rating(False, "why"))
    assert [row.value["good"] for row in repository.rows(session_id, 10) if row.key == FEEDBACK_KEY] == [
        False
    ]
    assert repository.unrate(turn_id)
    assert not repository.unrate(turn_id)
    assert repository.ratings([turn_id]) == {}
    assert [row.key for row in repository.rows(session_id, 10)] == ["query", TURN_KEY]
    assert repository.rate(turn_id, Rating(True))
    assert [row.key for row in repository.rows(session_id, 10)] == ["query", TURN_KEY, FEEDBACK_KEY]
    assert repository.ratings([turn_id, new_id()]) == {turn_id: Rating(True)}
    assert repository.ratings([]) == {}
    assert repository.find(session_id) == before, "a rating is no turn"
    for nothing in (new_id(), repository.rows(session_id, 10)[-1].id, "x" * 99, "a\x00", "\ud800"):
        assert repository.conversation_of(nothing) is None
        assert not repository.rate(nothing, Rating(True))


@pytest.mark.parametrize("name", ["x" * 37, "a\x00b", "\ud800", "' OR 1=1 --", "%"])
def test_names_of_no_session(repository: ConversationRepository, name: str) -> None:
    assert repository.find(name) is None
    assert repository.rows(name, 10) == []
    assert not repository.rename(name, "x")
    assert not repository.delete(name)


class TestBegunOverChat:
    """Sessions of which there are only the rows a component appended."""

    def test_it_is_found_at_once(
        self, store: ConversationStore, repository: ConversationRepository, owner: str
    ) -> None:
        add(store, owner[:30], "  What is\n new? ")
        found = repository.find(owner[:30])
        assert found is not None
        assert (found.owner, found.title) == (None, "What is new?")
        rows = repository.rows(owner[:30], 10)
        assert (found.created_at, found.updated_at) == (rows[0].created_at, rows[-1].created_at)

    def test_it_is_listed_for_nobody(
        self, store: ConversationStore, repository: ConversationRepository, owner: str
    ) -> None:
        session_id = new_id()
        add(store, session_id, f"{owner} 你好")
        found = repository.page([None], search=f"{owner} 你").conversations
        assert found == [repository.find(session_id)]
        assert titles(repository, owner) == []

    def test_it_goes_on(
        self, store: ConversationStore, repository: ConversationRepository, owner: str
    ) -> None:
        ids = [new_id() for _ in range(3)]
        for number, session_id in enumerate(ids):
            add(store, session_id, f"{owner} {number}")
        assert titles(repository, None, search=owner) == [f"{owner} {n}" for n in (2, 1, 0)]
        add(store, ids[0], "more")
        assert titles(repository, None, search=owner) == [f"{owner} {n}" for n in (0, 2, 1)]
        store.commit(entry_turn(ids[1], owner, "by page", ("query", "x")))
        assert titles(repository, None, search=owner) == [f"{owner} {n}" for n in (1, 0, 2)]
        assert titles(repository, owner) == [], "who goes on with it does not come to own it"

    def test_a_turn_of_the_page_before_it_was_listed(
        self, store: ConversationStore, repository: ConversationRepository, owner: str
    ) -> None:
        session_id = new_id()
        add(store, session_id, owner)
        store.commit(entry_turn(session_id, owner, "by page"))
        assert titles(repository, owner) == []
        assert titles(repository, None, search=owner) == [owner]

    @pytest.mark.parametrize("listed", [False, True])
    def test_it_is_renamed_and_deleted(
        self, store: ConversationStore, repository: ConversationRepository, owner: str, listed: bool
    ) -> None:
        session_id = new_id()
        add(store, session_id, owner)
        if listed:
            repository.page([None])
        assert repository.rename(session_id, owner + " renamed")
        assert titles(repository, None, search=owner) == [owner + " renamed"]
        assert repository.delete(session_id)
        assert titles(repository, None, search=owner) == []
        assert contents(store, session_id) == []
        add(store, session_id, owner + " anew")
        found = repository.find(session_id)
        assert found is not None
        assert found.title == owner + " anew"
        assert repository.page([None], search=owner).conversations == [found]

    def test_it_is_deleted_before_it_was_listed(
        self, store: ConversationStore, repository: ConversationRepository, owner: str
    ) -> None:
        session_id = new_id()
        add(store, session_id, owner)
        assert repository.delete(session_id)
        assert repository.find(session_id) is None
        assert titles(repository, None, search=owner) == []

    def test_its_rows_can_be_rated(
        self, store: ConversationStore, repository: ConversationRepository, owner: str
    ) -> None:
        session_id = new_id()
        add(store, session_id, owner)
        row = repository.rows(session_id, 1)[0]
        assert repository.conversation_of(row.id) == session_id
        before = repository.page([None], search=owner).conversations
        assert repository.rate(row.id, Rating(True))
        assert repository.page([None], search=owner).conversations == before

    @pytest.mark.parametrize(("content", "title"), [
        ({"text": "in a dict"}, "in a dict"), (["", {"a": [1, "deep"]}], "deep"), (5, ""), (None, ""),
        ("x" * 300_000, "x" * 79 + "…"),
    ])
    def test_titles(
        self, store: ConversationStore, repository: ConversationRepository, content: Any, title: str
    ) -> None:
        session_id = new_id()
        store.commit(turn(session_id, ("query", content)))
        repository.page([None])
        found = repository.find(session_id)
        assert found is not None
        assert found.title == title

    def test_many_at_once(
        self, store: ConversationStore, repository: ConversationRepository, owner: str
    ) -> None:
        """More than are asked about in one statement."""
        for number in range(130):
            store.commit(turn(new_id(), ("query", f"{owner} {number}")))
        expected = [f"{owner} {n}" for n in reversed(range(130))]
        assert titles(repository, None, search=owner, limit=1000) == expected

    def test_a_clock_that_steps_back(
        self,
        store: ConversationStore,
        repository: ConversationRepository,
        owner: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        ids, now = [new_id() for _ in range(2)], clock.now()
        add(store, ids[0], owner)
        repository.page([None])
        monkeypatch.setattr(clock, "now", lambda: now - timedelta(minutes=59))
        add(store, ids[1], owner + " earlier")
        assert titles(repository, None, search=owner) == [owner, owner + " earlier"]
        add(store, ids[1], "later than its first")
        assert [each.updated_at for each in repository.page([None], search=owner).conversations] == [
            found.updated_at for found in map(repository.find, ids) if found is not None
        ]


def turn_of(repository: ConversationRepository, session_id: str) -> str:
    return next(row.id for row in repository.rows(session_id, 100) if row.key == TURN_KEY)


def test_logins_that_have_ended(repository: ConversationRepository) -> None:
    login, other = new_id(), new_id()
    until = clock.now() + timedelta(days=15)
    repository.end_login(login, until)
    repository.end_login(login, until)
    assert repository.is_ended(login)
    assert not repository.is_ended(other)
    # It is kept in a row of the table, which is not of a conversation, and does not go with old ones.
    assert repository.conversation_of(logout_id(login)) is None
    before = [each.session_id for each in all_conversations(repository, None)]
    repository.end_login(other, until)
    assert [each.session_id for each in all_conversations(repository, None)] == before
    repository.prune(clock.now() - timedelta(days=36_500))
    assert repository.is_ended(login)


def test_what_was_noted_of_a_login_goes_with_time(store: ConversationStore) -> None:
    repository: Any = store.repository()
    old, fresh = new_id(), new_id()
    repository.end_login(old, clock.now() - timedelta(seconds=1))
    repository._tidy_at = 0.0
    repository.end_login(fresh, clock.now() + timedelta(days=1))
    assert not repository.is_ended(old)
    assert repository.is_ended(fresh)
