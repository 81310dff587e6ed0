"""Under gevent nothing that takes a greenlet's lock runs on the loop's thread."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.process.server import environment

PROGRAM = '''
from gevent import monkey; monkey.patch_all()
import asyncio, logging, gevent, gevent.event
from appbuilder import Component, Message, UserSession
from appbuilder.engine import admission as limits
from appbuilder.engine.engine import Engine
from appbuilder.engine.turn_request import TurnRequest
from appbuilder.engine.turn import Turn
from appbuilder.settings import Settings
from tests.memory_store import MemoryStore

thread = monkey.get_original("_thread", "get_ident")
hub, seen = thread(), {}

def note(owner, name):
    """Notes on which thread a method runs."""
    method = getattr(owner, name)
    def noted(*args, **kwargs):
        seen.setdefault(name, set()).add(thread() == hub)
        return method(*args, **kwargs)
    setattr(owner, name, noted)

class Talk(Component):
    async def arun(self, message, stream):
        seen["arun"] = {thread() == hub}
        session = UserSession()
        session.append({"query": message})
        session.get_history("query")
        await asyncio.to_thread(session.get_history, "query")
        if message.content == "fail":
            raise RuntimeError("on purpose")
        if message.content == "log":
            for number in range(5000):
                logging.getLogger("talk").warning("from the loop %d", number)
                if number % 50 == 0:
                    await asyncio.sleep(0)
        return Message(self.pieces() if stream else "done")

    async def pieces(self):
        for _ in range(20):
            await asyncio.sleep(0.001)
            yield "piece"

def run(text):
    return Engine(Talk(), MemoryStore(), Settings()).execute(TurnRequest(text, "s")).log.outcome
'''

PLACES = '''
for owner, name in [(MemoryStore, "history"), (MemoryStore, "commit"), (Turn, "advance"), (Turn, "failed"),
                    (limits.SessionQueue, "leave"), (limits.Admission, "leave")]:
    note(owner, name)
assert run("a").answer["content"] == "done"
assert run("fail").error is not None
assert seen.pop("arun") == {False}
assert all(where == {True} for where in seen.values()), seen
assert set(seen) == {"history", "commit", "advance", "failed", "leave"}

log = Engine(Talk(), MemoryStore(), Settings()).start(TurnRequest("a", "s", stream=True)).log
woken, cursor = [], 0
while log.outcome is None:
    reader = gevent.event.Event()
    log.subscribe(lambda: (woken.append(thread() == hub), reader.set()))
    if not log.has_more(cursor):
        assert reader.wait(10)
    cursor = len(log.entries)
assert woken and all(woken), woken
'''

LOGGING = '''
import os, sys
sys.setswitchinterval(1e-5)
log = logging.getLogger("talk")
log.addHandler(logging.StreamHandler(open(os.devnull, "w")))
log.propagate = False

def from_the_hub():
    for number in range(1000):
        log.warning("from the hub %d", number)
        if number % 20 == 0:
            gevent.sleep(0)

greenlets = [gevent.spawn(from_the_hub) for _ in range(5)]
with gevent.Timeout(20):  # it takes half a second; with greenlets' locks it does not end
    outcome = run("log")
    gevent.joinall(greenlets, raise_error=True)
assert outcome.answer is not None, outcome.error.__cause__
'''


@pytest.mark.parametrize("check", [PLACES, LOGGING], ids=["places", "logging"])
def test_the_loop_s_thread_takes_no_lock_of_the_greenlets(check: str) -> None:
    # A process of its own, because it is patched.
    command = [sys.executable, "-c", PROGRAM + check]
    ran = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, env=environment()
    )
    assert ran.returncode == 0, ran.stderr
