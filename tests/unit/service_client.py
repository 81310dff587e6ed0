"""The service's routes on the store in memory, in this process; who asks is the bearer of his name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

from starlette.testclient import TestClient
from tests.memory_store import MemoryStore
from tests.unit.engines import Scripted

from appbuilder.core.conversations import ConversationRepository
from appbuilder.core.runs import LiveRun
from appbuilder.core.store import TurnEntry, TurnRecord
from appbuilder.engine.engine import Engine
from appbuilder.ids import new_id
from appbuilder.serve.auth.cache import ExpiringCache
from appbuilder.serve.auth.hosts import ANY
from appbuilder.serve.auth.origins import OriginPolicy
from appbuilder.serve.auth.request_info import ANONYMOUS, Identity, RequestInfo
from appbuilder.serve.http.create_app import create_app
from appbuilder.serve.http.service_app import Lifespan
from appbuilder.serve.http.state import Service
from appbuilder.settings import Settings

OWNERS = {"ann": "user:ann", "bob": "user:bob", "root": "user:root", "v": "visitor:v", "local": "local",
          ANONYMOUS: ANONYMOUS}
SEE_ALL = ("root", "local")


class Register:
    """Live runs of all processes; a run that is stopped ends when it is looked for *lasting* times more."""

    def __init__(self) -> None:
        self.live: list[LiveRun] = []
        self.stopped: list[str] = []
        self.lasting = 0
        self.on_stop: Callable[[str], object] = lambda run_id: None

    def begin(self, run_id: str, owner: str | None, session_id: str = "s") -> LiveRun:
        run = LiveRun(run_id, session_id, new_id(), owner, datetime(2026, 1, 2), "running", "host:1", 3)
        self.live.append(run)
        return run

    def start(self, local: Any) -> None:
        """Nothing to tell of."""

    def runs(self, owners: Sequence[str | None] | None) -> Sequence[LiveRun]:
        if self.stopped:
            self.lasting -= 1
        if self.lasting < 0:
            self.live = [each for each in self.live if each.id not in self.stopped]
        return [each for each in self.live if owners is None or each.owner in owners]

    def stop(self, run_id: str) -> bool:
        self.stopped.append(run_id)
        self.on_stop(run_id)
        return any(each.id == run_id for each in self.live)

    def close(self) -> None:
        """Nothing to close."""


class Transcripts:
    """Notes whose sessions are to be recognized no more."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def forget(self, owner: str) -> None:
        self.forgotten.append(owner)


class _Names:
    async def identify(self, asking: RequestInfo) -> Identity | None:
        bearer = "".join(asking.values("authorization")).removeprefix("Bearer ")
        name = bearer or "".join(asking.values("x-api-key"))
        return Identity(name, OWNERS[name], sees_all_others=name in SEE_ALL) if name in OWNERS else None


class Desk:
    """The service."""

    def __init__(self, store: Any = None, *, authenticator: Any = None, **settings: Any) -> None:
        self.store = store or MemoryStore()
        self.register, self.transcripts = Register(), Transcripts()
        self.known: ExpiringCache[str, bool] = ExpiringCache(60)
        service = SimpleNamespace(
            store=self.store, register=self.register, settings=Settings(auth="keys", **settings), name="Echo",
            authenticator=authenticator or _Names(), engine=self._engine,
            transcripts=self.transcripts, takes=frozenset(), needs_credential=False, keys=None, limits=None,
            known=self.known,
        )
        app = create_app(
            cast(Service, service), origin_policy=OriginPolicy(ANY), page=None,
            lifespan=Lifespan(lambda: None, lambda: None, lambda: None),
        )
        self.client = TestClient(app, base_url="http://here.test", follow_redirects=False)

    def _engine(self) -> Engine:
        return Engine(Scripted(lambda message, stream: message), self.store, Settings())

    @property
    def repository(self) -> ConversationRepository:
        return cast(ConversationRepository, self.store.repository())

    def ask(self, method: str, path: str, who: str = "ann", status: int = 200, **more: Any) -> Any:
        """The answer's result; of an error its message."""
        headers = {"Authorization": f"Bearer {who}", **more.pop("headers", {})}
        answer = self.client.request(method, path, headers=headers, **more)
        assert answer.status_code == status, answer.text
        value = answer.json()
        assert value["code"] == (0 if status == 200 else status)
        return value["result"] if status == 200 else value["message"]

    def get(self, path: str, who: str = "ann", status: int = 200, **query: Any) -> Any:
        return self.ask("GET", path, who, status, params=query)

    def file(self, path: str, who: str = "ann", **query: Any) -> bytes:
        """An export."""
        answer = self.client.get(path, headers={"Authorization": f"Bearer {who}"}, params=query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/x-ndjson"
        return answer.content

    def bring_in(self, file: bytes, who: str = "ann", status: int = 200, **query: Any) -> Any:
        headers = {"Content-Type": "application/x-ndjson"}
        return self.ask("POST", "/sessions/import", who, status, content=file, headers=headers, params=query)

    def say(self, session_id: str, text: str, who: str = "ann", **members: Any) -> str:
        """A turn of the service, in which the component remembers something; returns its id."""
        turn_id = new_id()
        value = {"input": {"content": text}, "answer": {"content": text.upper()}, "state": "complete"}
        entry = TurnEntry(turn_id, OWNERS[who], text, {**value, **members})
        self.store.commit(TurnRecord(session_id, new_id(), [("query", {"content": text})], entry))
        return turn_id

    def say_over_flask(self, session_id: str, text: str) -> None:
        """A turn of FlaskRuntime, or of the SDK."""
        asked, said = {"content": text}, {"content": text.upper(), "extra": {}}
        rows: list[tuple[str, dict[str, Any]]] = [("query", asked), ("answer", said)]
        self.store.commit(TurnRecord(session_id, new_id(), rows))


def path_of(session_id: str, rest: str = "") -> str:
    """Where a session is."""
    return f"/sessions/{quote(session_id, safe='')}{rest}"
