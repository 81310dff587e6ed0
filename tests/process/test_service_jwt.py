"""Tokens of an issuer, at a real service with a real key set behind an address."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.process.page_client import Refused
from tests.process.service_callers import HOSTS, Caller, Guarded, serving
from tests.unit.tokens import AUDIENCE, ISSUER, SigningKey, by_hand, in_seconds, key_set, signing_key

SAID = {"message": {"do": "whoami"}}


class Issuer:
    """Serves a key set."""

    def __init__(self) -> None:
        self.body = key_set(signing_key().public_members(), signing_key("RSA", "rsa").public_members())
        self.calls = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.calls += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(issuer.body)))
                self.end_headers()
                self.wfile.write(issuer.body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}/keys"
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("jwt")
    given: dict[str, Any] = {"AUTH": "jwt", "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE, "HOSTS": HOSTS}
    with (
        issuer.running() as address,
        serving(folder, JWT_JWKS=address, ADMINISTRATORS="ada", LOGLEVEL="DEBUG", **given) as running,
    ):
        yield running
        assert "eyJ" not in running.server.log, "no token is in the log"


def user(service: Guarded, name: str) -> Caller:
    return service.caller(signing_key().token(sub=name))


def test_a_token_makes_its_user_at_every_door(service: Guarded) -> None:
    ann, bob, ada = (user(service, name) for name in ("ann", "bob", "ada"))
    assert ann.request("POST", "/chat", SAID).content == "ann"
    also_ann = service.caller(signing_key("RSA", "rsa").token(sub="ann"))
    assert also_ann.request("POST", "/chat", SAID).content == "ann"
    with ann.connect() as chat:  # a proxy in front sends the token with all requests of the page
        assert chat.answer(chat.do("remember", text="one")) == "one"
        session = chat.thread_id
    assert ann.chat({"do": "remember", "text": "two"}, session).content == "one two"
    assert session in ann.sessions()
    assert bob.request("GET", f"/sessions/{session}").status == 404
    assert ada.request("GET", f"/sessions/{session}").status == 200
    assert service.caller().request("POST", "/chat", SAID).status == 401


def test_a_new_key_works_at_once(service: Guarded, issuer: Issuer) -> None:
    """Before those below, whose made-up keys use up what an issuer is asked in ten seconds."""
    new = SigningKey("P-256", "new")
    issuer.body = key_set(*(key.public_members() for key in (signing_key(), signing_key("RSA", "rsa"), new)))
    before = issuer.calls
    for key in (new, signing_key()):
        assert service.caller(key.token(sub="ann")).request("POST", "/chat", SAID).content == "ann"
    assert issuer.calls == before + 1


def wrong_tokens() -> dict[str, str]:
    now = datetime.now(UTC)
    key, rsa = signing_key(), signing_key("RSA", "rsa")
    head, body, signature = key.token().split(".")
    return {
        "expired": key.token(exp=now - timedelta(minutes=5)),
        "not yet": key.token(nbf=now + timedelta(minutes=5)),
        "never ends": key.token(exp=None),
        "other audience": key.token(aud="another service"),
        "other issuer": key.token(iss="https://evil.example/"),
        "no user": key.token(sub=None),
        "another's key": SigningKey("P-256", "one").token(),
        "an unknown key": SigningKey("P-256", "made up").token(),
        "no signature": by_hand({"alg": "none", "kid": "one"}, in_seconds()),
        "public key as a secret": by_hand({"alg": "HS256", "kid": "rsa"}, in_seconds(), rsa.public_pem),
        "another's words": f"{head}.{key.token(sub='bob').split('.')[1]}.{signature}",
        "cut": f"{head}.{body}.",
    }


@pytest.mark.parametrize("kind", list(wrong_tokens()))
def test_a_wrong_token_is_401(service: Guarded, kind: str) -> None:
    caller = service.caller(wrong_tokens()[kind])
    for method, path, body in (("POST", "/chat", SAID), ("GET", "/sessions", None), ("GET", "/user", None)):
        answer = caller.request(method, path, body)
        assert answer.status == 401, (kind, path, answer.body)
        assert answer.header("www-authenticate") == "Bearer"
    with pytest.raises(Refused):
        caller.connect()
