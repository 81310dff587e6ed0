"""Fault injection for session stores: what a program does when its database does not."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from appbuilder.core.conversations import (
    OUTLINED,
    Conversation,
    ConversationPage,
    ConversationRepository,
    ConversationStore,
    NewSession,
    Owner,
    Place,
    Rating,
    SomeRows,
    StoredRow,
)
from appbuilder.core.store import SessionStore, TurnRecord
from appbuilder.errors import StoreUnavailable

CATALOGUE_OPERATIONS = (
    "page", "owner_of", "find", "rows", "read_back", "read_on", "outline", "rename", "delete", "erase",
    "erasing", "prune", "import_rows", "import_sessions", "tokens_since", "conversation_of",
    "own_turns", "rate", "ratings", "unrate", "end_login", "is_ended",
)  # fmt: skip
OPERATIONS = ("history", "commit", "ping", "check_writable", *CATALOGUE_OPERATIONS)


class Hang:
    """An operation that hangs: ``entered`` is set when one got stuck, ``release()`` lets it go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._released = threading.Event()

    def release(self) -> None:
        """Lets every call that hangs here, and those that come later, go on to the real store."""
        self._released.set()

    def wait(self) -> None:
        """Blocks until released."""
        self.entered.set()
        self._released.wait()


class FlakyStore:
    """A store that works like *store* except where it was set to fail.

    Faults of one operation (``"history"``, ``"commit"``, ``"ping"``; of its conversation repository
    ``"page"``, ``"find"``, ``"rows"`` and so on) are used up in the order they were set, one a call;
    ``calls`` counts the calls of each.
    """

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._faults: dict[str, deque[Callable[[], None]]] = defaultdict(deque)
        self._after: deque[Exception] = deque()
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()

    def fail(self, operation: str, times: int = 1, error: Exception | None = None) -> None:
        """The next *times* calls of *operation* raise *error* (StoreUnavailable) and do nothing."""
        raised = error or StoreUnavailable("The database is away (injected).")

        def fault() -> None:
            raise raised

        self._add(operation, fault, times)

    def hang(self, operation: str) -> Hang:
        """The next call of *operation* hangs until the returned object is released."""
        hang = Hang()
        self._add(operation, hang.wait, 1)
        return hang

    def fail_after_commit(self, times: int = 1, error: Exception | None = None) -> None:
        """The next *times* commits are written, and raise all the same."""
        raised = error or StoreUnavailable("The connection broke during the commit (injected).")
        with self._lock:
            self._after.extend([raised] * times)

    def history(
        self, session_id: str, key: str, limit: int, before: Place | None = None
    ) -> list[dict[str, Any]]:
        self.meet("history")
        return self._store.history(session_id, key, limit, before)

    def commit(self, turn: TurnRecord) -> None:
        self.meet("commit")
        self._store.commit(turn)
        with self._lock:
            error = self._after.popleft() if self._after else None
        if error is not None:
            raise error

    def ping(self) -> None:
        self.meet("ping")
        self._store.ping()

    @property
    def failures(self) -> int:
        """Those that were injected are not counted."""
        return cast(ConversationStore, self._store).failures

    def check_writable(self, timeout: float) -> None:
        self.meet("check_writable")
        cast(ConversationStore, self._store).check_writable(timeout)

    def close(self) -> None:
        self._store.close()

    def repository(self) -> ConversationRepository:
        """That of *store*, which must have one, with the same faults."""
        return _FlakyCatalogue(self, cast(ConversationStore, self._store).repository())

    def prepare_conversations(self) -> None:
        cast(ConversationStore, self._store).prepare_conversations()

    def _add(self, operation: str, fault: Callable[[], None], times: int) -> None:
        if operation not in OPERATIONS:
            raise ValueError(f"the operations of a store are {', '.join(OPERATIONS)}")
        with self._lock:
            self._faults[operation].extend([fault] * times)

    def meet(self, operation: str) -> None:
        """Counts a call of *operation*, and does what was set for it."""
        with self._lock:
            self.calls[operation] += 1
            fault = self._faults[operation].popleft() if self._faults[operation] else None
        if fault is not None:
            fault()


class _FlakyCatalogue:
    """The conversation repository of a flaky store."""

    def __init__(self, store: FlakyStore, repository: ConversationRepository) -> None:
        self._store = store
        self._repository = repository

    def page(
        self, owners: Sequence[Owner] | None, *, search: str = "", limit: int = 20, cursor: str | None = None
    ) -> ConversationPage:
        self._store.meet("page")
        return self._repository.page(owners, search=search, limit=limit, cursor=cursor)

    def owner_of(self, session_id: str) -> tuple[bool, Owner]:
        self._store.meet("owner_of")
        return self._repository.owner_of(session_id)

    def find(self, session_id: str) -> Conversation | None:
        self._store.meet("find")
        return self._repository.find(session_id)

    def rows(self, session_id: str, limit: int, *, before: Place | None = None) -> list[StoredRow]:
        self._store.meet("rows")
        return self._repository.rows(session_id, limit, before=before)

    def read_back(self, session_id: str, before: Place | None, limit: int, most_bytes: int) -> SomeRows:
        self._store.meet("read_back")
        return self._repository.read_back(session_id, before, limit, most_bytes)

    def read_on(self, session_id: str, after: Place | None, limit: int, most_bytes: int) -> SomeRows:
        self._store.meet("read_on")
        return self._repository.read_on(session_id, after, limit, most_bytes)

    def outline(
        self, session_id: str, before: Place | None, limit: int, *, longest: int = OUTLINED
    ) -> SomeRows:
        self._store.meet("outline")
        return self._repository.outline(session_id, before, limit, longest=longest)

    def rename(self, session_id: str, title: str) -> bool:
        self._store.meet("rename")
        return self._repository.rename(session_id, title)

    def delete(self, session_id: str) -> bool:
        self._store.meet("delete")
        return self._repository.delete(session_id)

    def erase(self, owner: Owner) -> int:
        self._store.meet("erase")
        return self._repository.erase(owner)

    def erasing(self, owner: Owner) -> Iterator[int]:
        self._store.meet("erasing")
        return self._repository.erasing(owner)

    def prune(self, before: datetime) -> int:
        self._store.meet("prune")
        return self._repository.prune(before)

    def import_rows(self, session_id: str, owner: Owner, title: str, rows: Sequence[StoredRow]) -> None:
        self._store.meet("import_rows")
        self._repository.import_rows(session_id, owner, title, rows)

    def import_sessions(self, sessions: Sequence[NewSession]) -> Sequence[bool]:
        self._store.meet("import_sessions")
        return self._repository.import_sessions(sessions)

    def tokens_since(self, session_id: str, since: datetime) -> int:
        self._store.meet("tokens_since")
        return self._repository.tokens_since(session_id, since)

    def conversation_of(self, turn_id: str) -> str | None:
        self._store.meet("conversation_of")
        return self._repository.conversation_of(turn_id)

    def own_turns(self, turn_ids: Sequence[str]) -> Mapping[str, tuple[str, StoredRow]]:
        self._store.meet("own_turns")
        return self._repository.own_turns(turn_ids)

    def rate(self, turn_id: str, rating: Rating) -> bool:
        self._store.meet("rate")
        return self._repository.rate(turn_id, rating)

    def ratings(self, turn_ids: Sequence[str]) -> Mapping[str, Rating]:
        self._store.meet("ratings")
        return self._repository.ratings(turn_ids)

    def unrate(self, turn_id: str) -> bool:
        self._store.meet("unrate")
        return self._repository.unrate(turn_id)

    def end_login(self, login: str, until: datetime) -> None:
        self._store.meet("end_login")
        self._repository.end_login(login, until)

    def is_ended(self, login: str) -> bool:
        self._store.meet("is_ended")
        return self._repository.is_ended(login)
