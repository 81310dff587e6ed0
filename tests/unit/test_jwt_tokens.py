"""JSON Web JwtVerifier: right ones, wrong ones, and where the issuer's keys come from."""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.unit.callers import Clock, asking, authenticator, bearer, identified, stopped_clock
from tests.unit.tokens import (
    ALGORITHM,
    AUDIENCE,
    ISSUER,
    SigningKey,
    by_hand,
    encoded,
    in_seconds,
    key_set,
    signing_key,
)

from appbuilder.errors import ConfigurationError, ServiceUnavailable, Unauthenticated
from appbuilder.serve.auth import jwks
from appbuilder.serve.auth.authenticator import FRESH
from appbuilder.serve.auth.jwks import Fetched, KeySet, PublicKeys
from appbuilder.serve.auth.jwt_tokens import LEEWAY, JwtVerifier
from appbuilder.serve.auth.request_info import Identity


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stopped_clock(monkeypatch)


class Issuer:
    """A place of keys. ``calls`` counts; ``down`` makes it one that does not answer."""

    def __init__(self, *keys: dict[str, Any], keep: float = 600.0) -> None:
        self.text = key_set(*keys)
        self.keep = keep
        self.calls = 0
        self.down = False
        self.gate: asyncio.Event | None = None

    async def __call__(self) -> Fetched:
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise OSError("no route")
        return self.text, self.keep

    def serves(self, *keys: dict[str, Any]) -> None:
        self.text = key_set(*keys)


def tokens(issuer: Issuer, user_claim: str = "sub") -> JwtVerifier:
    return JwtVerifier(KeySet(issuer), issuer=ISSUER, audience=AUDIENCE, user_claim=user_claim)


def user_of(token: str, *keys: dict[str, Any], user_claim: str = "sub") -> str:
    return asyncio.run(tokens(Issuer(*keys), user_claim).user_of(token))


def is_refused(token: str, *keys: dict[str, Any], **more: Any) -> bool:
    try:
        user_of(token, *keys, **more)
    except Unauthenticated:
        return True
    return False


ONE = signing_key().public_members()


# Right ones


@pytest.mark.parametrize("kind", sorted(ALGORITHM))
def test_each_asymmetric_algorithm(kind: str) -> None:
    key = signing_key(kind)
    assert user_of(key.token(), key.public_members()) == "ann"
    assert user_of(key.token(), key.public_members(alg=key.algorithm, use="sig")) == "ann"


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_each_algorithm_of_rsa(algorithm: str) -> None:
    key = signing_key("RSA")
    members = key.public_members()
    members.pop("alg", None)
    assert user_of(key.token(algorithm=algorithm), members) == "ann"


def test_the_user_is_in_the_claim_that_is_named() -> None:
    token = signing_key().token(email="王芳@example.com")
    assert user_of(token, ONE, user_claim="email") == "王芳@example.com"


def test_one_of_several_audiences() -> None:
    assert user_of(signing_key().token(aud=["other", AUDIENCE]), ONE) == "ann"


def test_a_key_without_a_name_does_if_it_is_the_only_one() -> None:
    nameless = signing_key("P-256", None)
    assert user_of(nameless.token(), nameless.public_members()) == "ann"
    assert user_of(nameless.token(), nameless.public_members(), signing_key("RSA").public_members()) == "ann"
    assert is_refused(nameless.token(), nameless.public_members(), ONE), "which of the two?"


def test_clocks_may_differ_a_little() -> None:
    now = datetime.now(UTC)
    little, much = timedelta(seconds=LEEWAY / 2), timedelta(seconds=LEEWAY * 2)
    key = signing_key()
    assert user_of(key.token(exp=now - little), ONE) == "ann"
    assert user_of(key.token(iat=now + little, nbf=now + little), ONE) == "ann"
    late: list[dict[str, Any]] = [{"exp": now - much}, {"nbf": now + much}, {"iat": now + much}]
    for wrong in late:
        assert is_refused(key.token(**wrong), ONE), wrong


# Wrong ones


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example/"}, {"iss": ISSUER.rstrip("/")}, {"iss": None}, {"aud": "other"},
        {"aud": None}, {"aud": []}, {"exp": None}, {"exp": "soon"}, {"exp": 0}, {"nbf": 2**40},
        {"sub": None}, {"sub": ""}, {"sub": "a\nb"}, {"sub": "x" * 257}, {"sub": " "}, {"exp": -(2**70)},
    ],
)
def test_claims_that_do_not_hold(claims: dict[str, Any]) -> None:
    assert is_refused(signing_key().token(**claims), ONE)


@pytest.mark.parametrize("claim", [5, True, ["ann"], {"name": "ann"}])
def test_a_user_is_a_name(claim: object) -> None:
    assert is_refused(signing_key().token(who=claim), ONE, user_claim="who")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, 5, ["ES256"], {}])
def test_no_signature_is_none(algorithm: object) -> None:
    assert is_refused(by_hand({"alg": algorithm, "kid": "one"}, in_seconds()), ONE)
    assert is_refused(by_hand({"kid": "one"}, in_seconds()), ONE)


def test_the_public_key_is_no_shared_secret() -> None:
    key = signing_key("RSA")
    members = key.public_members()
    secrets = [key.public_pem, key.public_pem.strip(), json.dumps(members).encode(), members["n"].encode()]
    for secret in [*secrets, b""]:
        for algorithm in ("HS256", "hs256"):
            token = by_hand({"alg": algorithm, "kid": "one", "typ": "JWT"}, in_seconds(), secret)
            assert is_refused(token, members)
            assert is_refused(token, {**members, "alg": algorithm})
            assert is_refused(token, {"kty": "oct", "kid": "one", "k": encoded(secret)})


def test_another_s_signature_is_none() -> None:
    other = SigningKey("P-256", "one")
    assert is_refused(other.token(), ONE)
    good = signing_key().token()
    head, body, signature = good.split(".")
    _, others, _ = signing_key().token(sub="bob").split(".")
    assert user_of(good, ONE) == "ann"
    assert is_refused(f"{head}.{others}.{signature}", ONE)
    assert is_refused(f"{head}.{body}.", ONE)
    assert is_refused(f"{head}.{body}.{'A' * len(signature)}", ONE), "an ECDSA signature of zeros"


def test_a_key_in_the_token_itself_is_not_used() -> None:
    other = SigningKey("P-256", "one")
    for headers in (
        {"jwk": other.public_members()}, {"jku": "https://evil.example/keys"}, {"x5u": "https://evil.example/"},
    ):
        assert is_refused(other.token(headers=headers), ONE)


@pytest.mark.parametrize("headers", [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"b64": False}, {"b64": "x"}])
def test_what_must_be_understood_and_is_not(headers: dict[str, Any]) -> None:
    header = {"alg": "ES256", "kid": "one", **headers}
    signed = f"{encoded(header)}.{encoded(in_seconds())}"
    key = signing_key()
    import jwt

    made = jwt.get_algorithm_by_name("ES256").sign(signed.encode(), key.private)
    assert is_refused(f"{signed}.{encoded(made)}", ONE)


@pytest.mark.parametrize(
    "token",
    [
        "", ".", "..", "...", "a.b.c", "a.b", "é.é.é", "e30.e30.", "e30.e30.e30", "W10.W10.W10",
        by_hand([], {}), by_hand(b"{", {}), by_hand({"alg": "ES256", "kid": "one"}, b"[" * 5000),
        by_hand({"alg": "ES256", "kid": ["one"]}, {}), by_hand(b'{"alg": "ES256", "alg": "none"}', {}),
    ],
)
def test_what_is_no_token(token: str) -> None:
    assert is_refused(token, ONE)


def test_keys_that_are_not_for_this() -> None:
    token = signing_key().token()
    assert is_refused(token, {**ONE, "use": "enc"})
    assert is_refused(token, {**ONE, "key_ops": ["encrypt"]})
    assert is_refused(token, {**ONE, "alg": "ES384"})
    assert is_refused(token, {**ONE, "kid": "two"})
    assert is_refused(token, {**ONE, "x": "AAAA"})
    assert is_refused(token, {name: value for name, value in ONE.items() if name != "x"})
    assert user_of(token, {**ONE, "key_ops": ["verify"]}, signing_key("RSA", "two").public_members()) == "ann"


def test_short_keys_of_rsa_are_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # signing with one
        short = SigningKey("RSA-1024")
        token, members = short.token(), short.public_members()
    assert is_refused(token, members)


def test_a_token_s_words_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    token = signing_key().token(sub="canary-user", iss="canary-issuer")
    with caplog.at_level(logging.DEBUG, "appbuilder"):
        assert is_refused(token, ONE)
    with pytest.raises(Unauthenticated) as refused:
        user_of(token, ONE)
    assert "canary" not in str(refused.value)
    assert "a token was refused" in caplog.text
    assert "canary" not in caplog.text
    assert token not in caplog.text


# Where the keys come from


def test_keys_are_kept_as_long_as_the_issuer_says_within_bounds(still: Clock) -> None:
    for said, kept in ((1.0, jwks.SHORTEST), (600.0, 600.0), (1e9, jwks.LONGEST)):
        issuer = Issuer(ONE, keep=said)
        checks = tokens(issuer)

        async def asks(checks: JwtVerifier = checks, issuer: Issuer = issuer, kept: float = kept) -> None:
            for _ in range(3):
                await checks.user_of(signing_key().token())
            still.now += kept - 1
            await checks.user_of(signing_key().token())
            assert issuer.calls == 1
            still.now += 2
            await checks.user_of(signing_key().token())
            assert issuer.calls == 2

        asyncio.run(asks())


def test_a_new_key_is_looked_for_at_once_and_then_not_too_often(still: Clock) -> None:
    issuer = Issuer(ONE)
    checks = tokens(issuer)
    new = SigningKey("P-256", "two")

    async def asks() -> None:
        assert await checks.user_of(signing_key().token()) == "ann"
        issuer.serves(ONE, new.public_members())
        assert await checks.user_of(new.token()) == "ann"
        assert issuer.calls == 2
        for number in range(20):
            with pytest.raises(Unauthenticated):
                await checks.user_of(SigningKey("P-256", f"made up {number}").token())
        assert issuer.calls == 2
        issuer.serves(new.public_members())
        still.now += jwks.PAUSE
        with pytest.raises(Unauthenticated):
            await checks.user_of(SigningKey("P-256", "made up").token())
        assert issuer.calls == 3
        with pytest.raises(Unauthenticated):
            await checks.user_of(signing_key().token())

    asyncio.run(asks())


def test_an_issuer_that_does_not_answer_is_no_fault_of_the_caller_s(still: Clock) -> None:
    issuer = Issuer(ONE)
    issuer.down = True
    checks = tokens(issuer)

    async def asks() -> None:
        for _ in range(5):
            with pytest.raises(ServiceUnavailable):
                await checks.user_of(signing_key().token())
        assert issuer.calls == 1, "it is left alone for a moment"
        issuer.down = False
        still.now += jwks.RETRY
        assert await checks.user_of(signing_key().token()) == "ann"
        # Now it is away again: its keys still hold, and a key nobody knows may be a new one.
        issuer.down = True
        still.now += jwks.LONGEST + 1
        assert await checks.user_of(signing_key().token()) == "ann"
        with pytest.raises(ServiceUnavailable):
            await checks.user_of(SigningKey("P-256", "two").token())
        still.now += jwks.UNREACHED
        with pytest.raises(ServiceUnavailable):
            await checks.user_of(signing_key().token())

    asyncio.run(asks())


def test_an_issuer_that_never_ends_its_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "_LONGEST_READ", 0.01)
    issuer = Issuer(ONE)

    async def asks() -> None:
        issuer.gate = asyncio.Event()
        with pytest.raises(ServiceUnavailable):
            await tokens(issuer).user_of(signing_key().token())

    asyncio.run(asks())


def test_many_at_once_ask_the_issuer_once() -> None:
    issuer = Issuer(ONE)
    checks = tokens(issuer)

    async def asks() -> None:
        issuer.gate = asyncio.Event()
        waiting = [asyncio.create_task(checks.user_of(signing_key().token())) for _ in range(50)]
        await asyncio.sleep(0)
        issuer.gate.set()
        assert await asyncio.gather(*waiting) == ["ann"] * 50
        assert issuer.calls == 1

    asyncio.run(asks())


@pytest.mark.parametrize(
    ("answer", "found"), [(404, "status 404"), (302, "status 302"), (200, "NoKeySet"), (0, "ConnectError")]
)
def test_where_the_keys_are_read_from_is_not_logged(
    answer: int, found: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The address may hold a password, or a key in its query."""
    request = httpx2.Request("GET", "https://user:secret@issuer.example/keys?key=secret")

    async def source() -> Fetched:
        if not answer:
            raise httpx2.ConnectError(f"no way to {request.url}")
        httpx2.Response(answer, request=request).raise_for_status()
        return b"secret", 0.0

    caplog.set_level(logging.INFO)
    with pytest.raises(ServiceUnavailable):
        asyncio.run(KeySet(source).get())
    assert found in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("place", ["http://issuer.example/keys", "http://[x", "ftp://u:secret@x/"])
def test_where_keys_are_not_read_from(place: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        jwks.key_source(place)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"keys": 5}', b"\xff", b"<html>", b"[" * 100_000])
def test_what_is_no_key_set(text: bytes) -> None:
    with pytest.raises(ValueError):
        PublicKeys.parse(text)
    issuer = Issuer()
    issuer.text = text
    with pytest.raises(ServiceUnavailable):
        asyncio.run(tokens(issuer).user_of(signing_key().token()))


def test_private_members_do_not_make_a_private_key() -> None:
    members = {**ONE, "d": ONE["x"]}
    assert user_of(signing_key().token(), members, {"kty": "oct", "kid": "one", "k": "AAAA"}) == "ann"
    assert PublicKeys.parse(key_set(members)).select("one", "ES256").__class__.__name__.endswith("PublicKey")


# As the settings say


def test_tokens_by_the_settings_with_keys_in_a_file(tmp_path: Path) -> None:
    place = tmp_path / "keys.json"
    place.write_bytes(key_set(ONE))
    given: dict[str, Any] = {
        "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks": str(place), "administrators": "ada",
    }
    door = authenticator(auth="jwt", **given)
    assert identified(door, asking(bearer(signing_key().token()))) == Identity("ann", "user:ann")
    ada = identified(door, asking(bearer(signing_key().token(sub="ada"))))
    assert ada == Identity("ada", "user:ada", sees_all_others=True)
    assert identified(door, asking()) is None
    assert not door.page.has_login
    for wrong in ("ab_secret1", "sk-x", "a.b.c", signing_key().token(aud="other")):
        with pytest.raises(Unauthenticated):
            identified(door, asking(bearer(wrong)))


def test_a_token_is_checked_again_after_a_moment_and_not_for_each_request(
    still: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "keys.json"
    place.write_bytes(key_set(ONE))
    given: dict[str, Any] = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks": str(place)}
    door = authenticator(auth="jwt", **given)
    checked: list[str] = []
    user_of = JwtVerifier.user_of

    async def counted(tokens: JwtVerifier, token: str) -> str:
        checked.append(token)
        return await user_of(tokens, token)

    monkeypatch.setattr(JwtVerifier, "user_of", counted)
    token = signing_key().token()
    request, wrong = asking(bearer(token)), asking(bearer(signing_key().token(aud="other")))

    async def asks() -> None:
        for _ in range(3):
            assert await door.identify(request) == Identity("ann", "user:ann")
            with pytest.raises(Unauthenticated):
                await door.identify(wrong)
        assert checked.count(token) == 1
        still.now += FRESH
        assert await door.identify(request)
        assert checked.count(token) == 2

    asyncio.run(asks())
