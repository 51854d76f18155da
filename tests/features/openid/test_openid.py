"""Sign-in at an OpenID Connect provider, with a real one over HTTPS."""

import asyncio
import base64
import contextlib
import gzip
import hmac
import json
import logging
import ssl
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.errors import JoseError
from small_internet.authority import Authority, server_context
from web_server import running_web

from hedgerow.dashboards.accounts import EXTERNAL_SESSION_S, ExternalIdentity
from hedgerow.dashboards.control import DeviceView, InvalidInput
from hedgerow.dashboards.passwords import SignInRefused
from hedgerow.dashboards.scopes import AccessScope, Role
from hedgerow.features.openid import provider as provider_module
from hedgerow.features.openid.provider import OpenIdSignIn
from hedgerow.features.openid.settings import OpenIdProvider
from hedgerow.policies.model import DeviceId

CLIENT, CREDENTIAL = "hedgerow", "the client's own"
"""Those of the provider in `conftest.py`."""
ROLES: dict[str, tuple[str, ...]] = {"admin": ("it-staff",), "parent": ("teachers",)}
PARENT = "127.0.0.9"
ADULT = DeviceView(DeviceId("ana-phone"), "Ana", "adult", may_sign_in=True)


class Clock:
    ahead = 0.0

    def __call__(self):
        return time.time() + self.ahead


@pytest.fixture
def provider(server):
    yield server
    server.person, server.flaw, server.algorithm, server.groups_in_token, server.long_answer = (
        "ana",
        {},
        "RS256",
        True,
        False,
    )
    server.scopes, server.odd_answer = None, b""
    server.groups = {"ana": ["it-staff"], "tom": ["teachers", "all"], "eve": ["pupils"]}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sign_in(provider, clock):
    settings = OpenIdProvider(provider.issuer, CLIENT, ROLES, ca=provider.ca)
    return OpenIdSignIn(lambda: settings, lambda: CREDENTIAL, clock)


def answered(provider, url):
    """The query with which the provider sends the browser back."""
    response = httpx.get(url, verify=_trusting(provider), trust_env=False, timeout=60)
    assert response.status_code == 302, response.text
    return {key: values[0] for key, values in parse_qs(urlsplit(response.headers["location"]).query).items()}


def _trusting(provider):
    return ssl.create_default_context(cafile=provider.ca)


def signed_in(provider, sign_in):
    async def whole():
        pending = await sign_in.begin("http://127.0.0.1:8053")
        answer = await asyncio.to_thread(answered, provider, pending.url)
        return await sign_in.finish(pending.cookie, answer, "http://127.0.0.1:8053")

    return asyncio.run(whole())


def refusal(provider, sign_in):
    with pytest.raises(SignInRefused) as caught:
        signed_in(provider, sign_in)
    return caught.value


@pytest.mark.parametrize(("person", "role"), [("ana", "admin"), ("tom", "parent"), ("eve", "")])
@pytest.mark.parametrize("in_token", [True, False], ids=["groups in the token", "groups in the user information"])
def test_groups_give_a_role(provider, sign_in, person, role, in_token):
    provider.person, provider.groups_in_token = person, in_token
    assert signed_in(provider, sign_in) == ExternalIdentity(f"{provider.issuer} id-{person}", person, role)


@pytest.mark.parametrize(
    "flaw",
    [
        {"nonce": "another"},
        {"aud": "another-client"},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"iss": "https://elsewhere.example"},
        {"exp": int(time.time()) - 600},
        {"at_hash": "bm9uc2Vuc2U"},
        {"sub": None},
    ],
    ids=lambda flaw: next(iter(flaw)),
)
def test_a_wrong_id_token_opens_nothing(provider, sign_in, flaw, caplog):
    provider.flaw = flaw
    with caplog.at_level(logging.WARNING):
        assert refusal(provider, sign_in).status == 503
    assert "Signing in by OpenID Connect failed" in caplog.text
    assert CREDENTIAL not in caplog.text


@pytest.mark.parametrize("groups", [[["it-staff"], {"it-staff": 1}, 1], {"it-staff": 1}, 7, None])
def test_groups_of_another_shape_give_no_role(provider, sign_in, groups):
    provider.flaw = {"groups": groups}
    assert signed_in(provider, sign_in).role == ""


@pytest.mark.parametrize("subject", [7, ["id-ana"], ""])
def test_a_subject_of_another_shape_opens_nothing(provider, sign_in, subject):
    provider.flaw = {"sub": subject}
    assert refusal(provider, sign_in).status == 503


ODD_ANSWERS = ("[" * 100_000, "[]", "7", '{"issuer": []}', '{"issuer": "ISSUER"}', "\xff", "9" * 100_000, "KEYS")


@pytest.mark.parametrize("answer", ODD_ANSWERS, ids=lambda text: text[:20])
def test_an_answer_of_another_shape_refuses_the_sign_in(provider, sign_in, answer):
    if answer == "KEYS":
        places = dict.fromkeys(("authorization_endpoint", "token_endpoint", "jwks_uri"), 7)
        answer = json.dumps({"issuer": provider.issuer, **places})
    provider.odd_answer = answer.replace("ISSUER", provider.issuer).encode("latin-1")
    assert refusal(provider, sign_in).status == 503


def test_an_unsigned_id_token_opens_nothing(provider, sign_in):
    provider.algorithm = "none"
    assert refusal(provider, sign_in).status == 503


def test_a_token_with_the_public_key_as_its_password_opens_nothing(provider, sign_in):
    """The old confusion of keys: HMAC with what everybody knows."""
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in (
            {"alg": "HS256", "kid": provider.key.kid},
            {
                "iss": provider.issuer,
                "sub": "id-ana",
                "aud": CLIENT,
                "iat": time.time(),
                "exp": time.time() + 300,
                "nonce": "n",
            },
        )
    )
    seal = hmac.digest(provider.key.as_pem(private=False), head + b"." + body, "sha256")
    forged = b".".join((head, body, base64.urlsafe_b64encode(seal).rstrip(b"="))).decode()
    with pytest.raises(JoseError):
        asyncio.run(sign_in._claims(sign_in.provider(), {"id_token": forged}, "n"))


@pytest.mark.parametrize(("known", "asks"), [(None, False), (["openid", "email"], False), (["openid", "groups"], True)])
def test_the_scope_of_groups_is_asked_for_where_the_provider_knows_it(provider, sign_in, known, asks):
    provider.scopes = known
    url = asyncio.run(sign_in.begin("http://127.0.0.1")).url
    assert ("groups" in parse_qs(urlsplit(url).query)["scope"][0].split()) is asks


def test_another_browsers_answer_is_refused(provider, sign_in):
    async def crossed():
        mine, theirs = await sign_in.begin("http://127.0.0.1"), await sign_in.begin("http://127.0.0.1")
        answer = await asyncio.to_thread(answered, provider, theirs.url)
        before = len(provider.requests)
        for cookie in (mine.cookie, "", ".", "a.b", "ü.b.c"):
            with pytest.raises(SignInRefused, match="not begun in this browser"):
                await sign_in.finish(cookie, answer, "http://127.0.0.1")
        assert len(provider.requests) == before  # nothing was asked for them
        assert (await sign_in.finish(theirs.cookie, answer, "http://127.0.0.1")).name == "ana"
        with pytest.raises(SignInRefused):  # a code works once
            await sign_in.finish(theirs.cookie, answer, "http://127.0.0.1")

    asyncio.run(crossed())


def test_a_cancelled_sign_in_is_told(sign_in, caplog):
    async def cancelled():
        pending = await sign_in.begin("http://127.0.0.1")
        state = pending.cookie.partition(".")[0]
        with pytest.raises(SignInRefused, match="refused or cancelled"):
            await sign_in.finish(
                pending.cookie, {"state": state, "error": "access_denied\nforged line"}, "http://127.0.0.1"
            )

    with caplog.at_level(logging.WARNING):
        asyncio.run(cancelled())
    assert "access_denied?forged line" in caplog.text


def test_an_answer_of_another_provider_is_refused(provider, sign_in):
    async def mixed():
        pending = await sign_in.begin("http://127.0.0.1")
        answer = await asyncio.to_thread(answered, provider, pending.url)
        with pytest.raises(SignInRefused):
            await sign_in.finish(pending.cookie, answer | {"iss": "https://elsewhere.example"}, "http://127.0.0.1")

    asyncio.run(mixed())


def test_new_keys_of_the_provider_are_fetched(provider, sign_in, clock):
    signed_in(provider, sign_in)
    provider.change_key()
    assert refusal(provider, sign_in).status == 503  # fetched a moment ago: not again for each wrong signature
    clock.ahead = 60
    assert signed_in(provider, sign_in).name == "ana"


def test_a_provider_that_answers_too_much_is_refused(provider, sign_in, caplog):
    provider.long_answer = True
    with caplog.at_level(logging.WARNING):
        assert refusal(provider, sign_in).status == 503
    assert "too long" in caplog.text


def test_a_provider_that_is_away_is_told(provider, caplog):
    settings = OpenIdProvider("https://127.0.0.1:9", CLIENT, ROLES, ca=provider.ca)
    away = OpenIdSignIn(lambda: settings, lambda: CREDENTIAL)
    with pytest.raises(SignInRefused, match="can't be used at the moment"), caplog.at_level(logging.WARNING):
        asyncio.run(away.begin("http://127.0.0.1"))


def test_an_unknown_authority_is_refused(provider):
    settings = OpenIdProvider(provider.issuer, CLIENT, ROLES)
    strange = OpenIdSignIn(lambda: settings, lambda: CREDENTIAL)
    with pytest.raises(SignInRefused):
        asyncio.run(strange.begin("http://127.0.0.1"))


def _hostile_answer(issuer, path, kind):
    """The octets of an answer, some of them without an end."""
    body = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/keys",
    }
    ok = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    match kind:
        case "octet by octet":
            yield ok + b"\r\n"
            yield from (b" " for _ in range(100_000))
        case "fields without end":
            yield ok
            yield from (b"x: y\r\n" * 100 for _ in range(100_000))
        case "informational responses without end":
            yield from (b"HTTP/1.1 100 Continue\r\n\r\n" * 100 for _ in range(100_000))
        case "redirect inside":
            yield b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/\r\nContent-Length: 0\r\n\r\n"
        case "compressed":
            yield ok + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b" " * 10**8)
        case _ if path == "/keys":
            keys = {
                "levels": "[" * 60_000 + "]" * 60_000,
                "no keys": '{"keys": 7}',
                "passwords as keys": json.dumps({"keys": [{"kty": "oct", "k": "A" * 22}] * 4000}),
                "a huge key": json.dumps({"keys": [{"kty": "RSA", "kid": "a", "n": "_" * 180_000, "e": "_____w"}]}),
            }[kind]
            yield ok + b"\r\n" + keys.encode()
        case _:
            yield ok + b"\r\n" + json.dumps(body).encode()


@pytest.mark.parametrize(
    "kind",
    [
        *("octet by octet", "fields without end", "informational responses without end", "redirect inside"),
        *("compressed", "levels", "no keys", "passwords as keys", "a huge key"),
    ],
)
def test_a_hostile_provider_ends_in_time_and_signs_nobody_in(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(provider_module, "_TIMEOUT_S", 1.0)
    authority, asked = Authority(tmp_path), []

    async def answer(reader, writer):
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            asked.append((await reader.readuntil(b"\r\n\r\n")).split()[1].decode())
            for part in _hostile_answer(issuer(), asked[-1], kind):
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.001)

    def issuer():
        return f"https://127.0.0.1:{servers[0].sockets[0].getsockname()[1]}"

    async def whole():
        context = server_context(authority.leaf("127.0.0.1"))
        servers.append(await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context))
        settings = OpenIdProvider(issuer(), CLIENT, ROLES, ca=str(authority.root))
        sign_in = OpenIdSignIn(lambda: settings, lambda: CREDENTIAL)
        pending = None
        try:
            async with asyncio.timeout(30):
                pending = await sign_in.begin("http://127.0.0.1:8053")
                cookie = pending.cookie
                await sign_in.finish(cookie, {"state": cookie.partition(".")[0], "code": "x"}, "http://127.0.0.1:8053")
        finally:
            servers[0].close()

    servers = []
    with pytest.raises(SignInRefused):
        asyncio.run(whole())
    assert set(asked) <= {"/.well-known/openid-configuration", "/keys", "/token"}


# Accounts and pages


@pytest.fixture
def web(tmp_path, provider, clock):
    state = tmp_path / "state"
    state.mkdir()
    (state / "oidc-secret").write_text(f"{CREDENTIAL}\n")
    (state / "hedgerow.yaml").write_text(
        f"network:\n  lan: [127.0.0.0/8]\n  unknown_devices: adult\n  oidc:\n    issuer: {provider.issuer}\n    client:"
        f" {CLIENT}\n    label: School\n    ca: {provider.ca}\n    roles: {{admin: [it-staff], parent: [teachers]}}\n"
    )
    with running_web(state, clock=clock) as web:
        web.change_status(state=str(state))
        web.control.devices[PARENT] = ADULT
        yield web


def browser(web):
    return httpx.Client(
        base_url=web.url, transport=httpx.HTTPTransport(local_address=PARENT, verify=False), trust_env=False, timeout=60
    )


def back(web, provider, client):
    begun = client.get("/sign-in/openid")
    assert begun.status_code == 303, begun.text
    assert "samesite=lax" in begun.headers["set-cookie"].lower()
    assert "httponly" in begun.headers["set-cookie"].lower()
    return client.get("/sign-in/openid/back", params=answered(provider, begun.headers["location"]))


def test_somebody_signs_in_and_out(web, provider):
    provider.person = "tom"
    with browser(web) as client:
        assert "Sign in at School" in client.get("/sign-in").text
        assert back(web, provider, client).status_code == 200
        assert client.get("/people").status_code == 200
        assert client.get("/settings").status_code == 200
        # a parent, no admin
        assert client.post("/settings/accounts", data={"name": "x"}, headers={"origin": web.url}).status_code == 403
        assert "Current password" not in client.get("/account").text
        client.post("/sign-out", headers={"origin": web.url})
        assert client.get("/people").status_code == 303
    account = next(row for row in web.accounts.accounts() if row.name == "tom")
    assert (account.role, account.password, account.subject) == ("parent", "", f"{provider.issuer} id-tom")


@pytest.mark.parametrize("named", ["whole", "roles"])
def test_nobody_becomes_an_admin_by_naming_a_provider(web, provider, named):
    provider.person = "eve"  # of the group `pupils`, which has no role
    asyncio.run(web.accounts.create("ben", Role.PARENT, "four words and more"))
    session = asyncio.run(web.accounts.sign_in("ben", "four words and more", "", PARENT, ""))
    mine = {"issuer": provider.issuer, "client": CLIENT, "ca": provider.ca} if named == "whole" else {}
    patch = {"network": {"oidc": mine | {"roles": {"admin": ["pupils"]}}}}
    token = asyncio.run(web.accounts.make_token("dhcp", ("manage",), "ana"))
    parent = {"cookie": f"hedgerow_session={session}", "origin": web.url}
    with browser(web) as client:
        for headers in ({"authorization": f"Bearer {token}"}, parent):
            answer = client.patch("/api/v1/policy", json=patch, headers=headers)
            assert answer.status_code == 403, answer.text
            assert (
                answer.json()["detail"]
                == "Only an admin may change network.oidc.roles.admin in the policy, so nothing was changed."
            )
    with browser(web) as client:
        assert back(web, provider, client).status_code == 403
        assert client.get("/api/v1/accounts").status_code != 200
    assert "eve" not in [row.name for row in web.accounts.accounts()]


def test_an_account_of_the_provider_has_no_password(web, provider):
    with browser(web) as client:
        back(web, provider, client)
    with pytest.raises(InvalidInput, match="signs in elsewhere"):
        asyncio.run(web.accounts.set_password("ana", "four words and more"))
    for password in ("", "four words and more"):
        with pytest.raises(SignInRefused, match="Wrong name or password"):
            asyncio.run(web.accounts.sign_in("ana", password, "", PARENT, ""))


def test_the_last_admin_with_a_password_stays(web, provider):
    with browser(web) as client:
        back(web, provider, client)
    owner = next(row.name for row in web.accounts.accounts() if row.password)
    with pytest.raises(InvalidInput, match="last account of an admin"):
        asyncio.run(web.accounts.remove(owner))


def test_whoever_loses_the_groups_loses_the_session(web, provider):
    with browser(web) as client, browser(web) as again:
        back(web, provider, client)
        assert client.get("/people").status_code == 200
        provider.groups = {"ana": []}
        refused = back(web, provider, again)
        assert (refused.status_code, "none of your groups has a role here" in refused.text) == (403, True)
        assert client.get("/people").status_code == 303


def test_another_group_gives_another_role_and_ends_older_sessions(web, provider):
    with browser(web) as client, browser(web) as again:
        back(web, provider, client)
        provider.groups = {"ana": ["teachers"]}
        back(web, provider, again)
        assert client.get("/people").status_code == 303
        assert again.get("/people").status_code == 200
    assert next(row.role for row in web.accounts.accounts() if row.subject) == Role.PARENT


def test_a_local_account_is_not_taken_over(web, provider):
    asyncio.run(web.accounts.create("Ana", Role.PARENT, "four words and more"))
    with browser(web) as client:
        refused = back(web, provider, client)
    assert refused.status_code == 403
    assert "There is an account called" in refused.text


def test_the_session_ends_after_half_a_day(web, provider, clock):
    with browser(web) as client:
        back(web, provider, client)
        clock.ahead = EXTERNAL_SESSION_S + 60
        assert client.get("/people").status_code == 303


def test_wrong_answers_delay_the_device(web, provider):
    with browser(web) as client:
        codes = [client.get("/sign-in/openid/back", params={"state": "x", "code": "y"}).status_code for _ in range(6)]
        assert codes == [403] * 5 + [429]
        assert client.get("/sign-in/openid").status_code == 429


def test_without_a_provider_the_pages_say_so(tmp_path):
    Path(tmp_path / "hedgerow.yaml").write_text("network: {lan: [127.0.0.0/8], unknown_devices: adult}\n")
    with running_web(tmp_path) as web, browser(web) as client:
        web.control.devices[PARENT] = ADULT
        assert "Sign in at" not in client.get("/sign-in").text
        assert "with a password only" in client.get("/sign-in/openid").text


def test_a_role_has_the_scopes_of_the_role(web, provider):
    with browser(web) as client:
        back(web, provider, client)
        cookie = client.cookies["hedgerow_session"]
    principal = web.accounts.principal_of_session(cookie)
    assert principal is not None
    assert principal.scopes == frozenset(AccessScope)
