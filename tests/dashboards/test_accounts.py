"""Passwords, sessions, tokens, and delays after wrong passwords."""

import asyncio
import sqlite3
import time
from pathlib import Path

import pyotp
import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError

from hedgerow.dashboards.accounts import SESSION_IDLE_S, SESSION_LIFETIME_S, Accounts
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.passwords import FREE_ATTEMPTS, PasswordHashes, SignInRefused
from hedgerow.dashboards.policy_index import device_of
from hedgerow.dashboards.scopes import AccessScope, Role
from hedgerow.journal.accounts import AccountStore, WebSessionRow
from hedgerow.journal.database import open_journal
from hedgerow.policies.reading.load import parse_policy

GOOD = "four words and more"
PHONE, CHILD = "192.168.1.5", "192.168.1.31"


class Clock:
    now = 1_780_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def engine(tmp_path):
    engine = open_journal(tmp_path / "journal.sqlite")
    yield engine
    engine.dispose()


def made(engine, clock):
    return Accounts(
        AccountStore(engine), clock, PasswordHashes(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    )


@pytest.fixture
def accounts(engine, clock):
    accounts = made(engine, clock)
    asyncio.run(accounts.create_first("ana", GOOD, accounts.setup_code.text, PHONE, "Firefox"))
    return accounts


def sign_in(accounts, password=GOOD, name="ana", address=PHONE, code=""):
    return asyncio.run(accounts.sign_in(name, password, code, address, "Firefox"))


def codes_of(secret):
    """The code of now, and the next one."""
    now = time.time()
    return pyotp.TOTP(secret).at(now), pyotp.TOTP(secret).at(now + 30)


def refusal(accounts, *arguments, **more):
    with pytest.raises(SignInRefused) as caught:
        sign_in(accounts, *arguments, **more)
    return caught.value


def test_only_one_account_can_be_the_first(engine, clock):
    accounts = made(engine, clock)
    assert not accounts.has_any
    refusal(accounts, "")
    refusal(accounts, "admin", name="admin")
    with pytest.raises(InvalidInput, match="first account is an admin's"):
        asyncio.run(accounts.create("tom", Role.PARENT, GOOD))
    cookie = asyncio.run(accounts.create_first("ana", GOOD, accounts.setup_code.text, PHONE, ""))
    assert accounts.principal_of_session(cookie).scopes == frozenset(AccessScope)
    with pytest.raises(InvalidInput):
        asyncio.run(accounts.create_first("mallory", GOOD, accounts.setup_code.text, CHILD, ""))


def test_a_session_survives_a_restart_and_its_cookie_is_not_stored(engine, clock, accounts, tmp_path):
    cookie = sign_in(accounts)
    token = asyncio.run(accounts.make_token("grafana", ("metrics",), "ana"))
    again = made(engine, clock)
    assert again.principal_of_session(cookie).name == "ana"
    assert again.principal_of_token(token).scopes == {AccessScope.METRICS}
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        dump = "\n".join(db.iterdump())
    db.close()
    assert "ana" in dump
    for secret in (cookie, token, GOOD):
        assert secret not in dump
    assert "$argon2id$" in dump


def test_sessions_end_on_request_when_idle_and_when_old(clock, accounts):
    ended, idle, old = (sign_in(accounts) for _ in range(3))
    asyncio.run(accounts.end_session(accounts.principal_of_session(ended).session))
    assert accounts.principal_of_session(ended) is None
    start = clock.now
    while clock.now < start + SESSION_LIFETIME_S - SESSION_IDLE_S / 2:
        clock.now += SESSION_IDLE_S / 2
        assert accounts.principal_of_session(old)
    assert accounts.principal_of_session(idle) is None
    clock.now = start + SESSION_LIFETIME_S + 1
    assert accounts.principal_of_session(old) is None


def test_a_new_password_ends_every_session(accounts):
    cookie = sign_in(accounts)
    asyncio.run(accounts.set_password("ana", "another good one"))
    assert accounts.principal_of_session(cookie) is None
    refusal(accounts)
    assert sign_in(accounts, "another good one")


def test_wrong_passwords_cause_growing_delays(clock, accounts):
    waits = []
    for _ in range(FREE_ATTEMPTS + 8):
        refused = refusal(accounts, "guess number one", address=CHILD)
        if refused.status == 429:
            waits.append(accounts.delays.seconds_to_wait(CHILD))
            clock.now += waits[-1]
            assert refusal(accounts, "guess number two", address=CHILD).status == 403
    assert waits[0] == 30
    assert waits == sorted(waits)
    assert waits[-1] == 900


def test_nobody_can_lock_a_parent_out(clock, accounts):
    """A child guesses for a day, and the parent still signs in at once, from the phone and on the machine."""
    for _ in range(50):
        refusal(accounts, "guess number one", address=CHILD)
        clock.now += 1000
    assert sign_in(accounts)
    assert sign_in(accounts, address="127.0.0.1")
    for _ in range(50):
        refusal(accounts, "guess number one", address="127.0.0.1")
    clock.now += 31
    assert sign_in(accounts, address="127.0.0.1")


def test_all_addresses_of_an_ipv6_network_share_a_delay(accounts):
    for number in range(FREE_ATTEMPTS):
        assert refusal(accounts, "guess number one", address=f"fd12::{number + 1:x}").status == 403
    assert refusal(accounts, GOOD, address="fd12::ffff").status == 429
    assert sign_in(accounts, address="fd13::1")


def test_the_right_password_is_refused_during_a_delay(clock, accounts):
    for _ in range(FREE_ATTEMPTS):
        refusal(accounts, "guess number one", address=CHILD)
    assert str(refusal(accounts, GOOD, address=CHILD)) == str(refusal(accounts, "wrong again", address=CHILD))


def test_the_hash_for_unknown_names_takes_as_long_as_others():
    hasher = PasswordHasher(time_cost=2, memory_cost=128, parallelism=1)
    hashes = PasswordHashes(hasher)
    assert extract_parameters(hashes.dummy) == extract_parameters(hasher.hash(GOOD))
    with pytest.raises(VerifyMismatchError):  # it was computed and compared
        hasher.verify(hashes.dummy, GOOD)


def test_a_password_for_an_unknown_name_is_compared_with_it(accounts):
    class RecordingHashes(PasswordHashes):
        async def matches(self, hashed, secret):
            compared.append(hashed)
            return await super().matches(hashed, secret)

    compared: list[str] = []
    accounts.passwords = RecordingHashes(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    refusal(accounts, "wrong password", name="nobody")
    assert compared == [accounts.passwords.dummy]


@pytest.mark.parametrize(
    "password", ["short", "a" * 30, "abababababab", "anaana12345", "Password123!", "hedgerow!!!", "x" * 501]
)
def test_weak_passwords_are_refused(accounts, password):
    with pytest.raises(InvalidInput):
        asyncio.run(accounts.set_password("ana", password))


@pytest.mark.parametrize("name", ["", "a  b", " a", "<script>", "x" * 41, "a\nb"])
def test_invalid_account_names_are_refused(accounts, name):
    with pytest.raises(InvalidInput):
        asyncio.run(accounts.create(name, Role.PARENT, GOOD))


def test_the_last_admin_cannot_be_removed(accounts):
    asyncio.run(accounts.create("tom", Role.PARENT, GOOD))
    with pytest.raises(InvalidInput):
        asyncio.run(accounts.create("tom", Role.ADMIN, GOOD))
    with pytest.raises(InvalidInput):
        asyncio.run(accounts.remove("ana"))
    asyncio.run(accounts.create("leo", Role.ADMIN, GOOD))
    asyncio.run(accounts.remove("ana"))
    refusal(accounts)


def test_a_second_factor_is_required_once_set(clock, accounts):
    secret = pyotp.random_base32()
    with pytest.raises(InvalidInput):
        asyncio.run(accounts.start_totp("ana", secret, "000000x"))
    first, code = codes_of(secret)
    codes = asyncio.run(accounts.start_totp("ana", secret, first))
    assert refusal(accounts).needs_code
    assert refusal(accounts, code="123").needs_code
    assert refusal(accounts, code=first).needs_code, "the code that switched it on was used"
    assert sign_in(accounts, code=code)
    assert refusal(accounts, code=code).needs_code, "a code is good once"
    assert sign_in(accounts, code=codes[3])
    assert refusal(accounts, code=codes[3]).needs_code
    asyncio.run(accounts.stop_totp("ana"))
    assert sign_in(accounts)


def test_no_code_works_after_a_later_one_not_even_after_a_restart_or_on_another_node(engine, clock, accounts):
    other = made(engine, clock)
    secret = pyotp.random_base32()
    now = time.time()
    before, current, after = (pyotp.TOTP(secret).at(now + 30 * shift) for shift in (-1, 0, 1))
    asyncio.run(accounts.start_totp("ana", secret, current))
    other.adopt(other.read())
    for each in (accounts, other, Accounts(AccountStore(engine), clock)):
        assert refusal(each, code=before).needs_code
        assert refusal(each, code=current).needs_code, "it switched the second factor on"
    assert sign_in(accounts, code=after)
    for each in (accounts, other, Accounts(AccountStore(engine), clock)):
        for code in (before, current, after):
            assert refusal(each, code=code).needs_code
    asyncio.run(accounts.set_password("ana", GOOD))
    assert refusal(accounts, code=after).needs_code, "another password makes no code new"


def test_a_recovery_code_works_once_on_all_nodes(engine, clock, accounts):
    other = made(engine, clock)
    secret = pyotp.random_base32()
    codes = asyncio.run(accounts.start_totp("ana", secret, pyotp.TOTP(secret).now()))
    other.adopt(other.read())
    assert sign_in(accounts, code=codes[0])
    assert refusal(other, code=codes[0]).needs_code


@pytest.mark.parametrize("scopes", [(), ("admin",), ("read", "operate")])
def test_tokens_have_the_three_scopes_only(accounts, scopes):
    with pytest.raises(InvalidInput):
        asyncio.run(accounts.make_token("x", scopes, "ana"))


def test_tokens_made_before_the_first_password_end_with_it(engine, clock):
    accounts = made(engine, clock)
    before = asyncio.run(accounts.make_token("planted", ("manage",), "this machine"))
    assert accounts.principal_of_token(before)
    asyncio.run(accounts.create("ana", Role.ADMIN, GOOD))
    assert accounts.principal_of_token(before) is None
    assert accounts.tokens() == accounts.store.tokens() == ()
    after = asyncio.run(accounts.make_token("grafana", ("metrics",), "ana"))
    asyncio.run(accounts.create("tom", Role.OPERATOR, GOOD))
    assert accounts.principal_of_token(after)


def test_a_token_expires(engine, clock, accounts):
    token = asyncio.run(accounts.make_token("terraform", ("manage",), "ana", days=30))
    assert accounts.principal_of_token(token).name == "token terraform"
    (row,) = accounts.tokens()
    assert row.expires_at == row.created_at + 30 * 86400
    later = Accounts(accounts.store, lambda: row.expires_at, accounts.passwords)
    assert later.principal_of_token(token) is None


def test_tokens_and_sessions_say_where_they_were_last_used(engine, clock, accounts):
    """Also after a restart, and at most some minutes late."""
    token = asyncio.run(accounts.make_token("terraform", ("manage",), "ana"))
    cookie = sign_in(accounts)
    accounts.device_keys = lambda _address: (PHONE,)
    assert [(row.used_at, row.used_from) for row in accounts.tokens()] == [(None, "")]
    accounts.principal_of_token(token, CHILD)
    clock.now += 3600
    accounts.principal_of_session(cookie, CHILD)
    accounts.principal_of_token(token, PHONE)
    clock.now += 60
    accounts.principal_of_token(token, CHILD)
    for each in (accounts, made(engine, clock)):
        assert [(row.used_at, row.used_from) for row in each.tokens()] == [(clock.now - 60, PHONE)]
        assert (clock.now - 60, CHILD) in [(row.seen_at, row.address) for row in each.sessions()]


def test_a_journal_that_takes_no_writes_refuses_nobody(engine, clock, accounts):
    token = asyncio.run(accounts.make_token("terraform", ("manage",), "ana"))
    cookie = sign_in(accounts)
    with engine.begin() as connection:
        for table in ("tokens", "web_sessions"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER full_{table} BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'full'); END"
            )
    clock.now += 3600
    assert accounts.principal_of_token(token, PHONE) is not None
    assert accounts.principal_of_session(cookie, PHONE) is not None


@pytest.mark.parametrize(
    ("origin", "device"),
    [
        ("02:00:00:00:77:0d\n02:00:00:00:77:0e", "phone"),
        ("192.168.1.8\ntv@address", "tv"),
        ("tv", "tv"),
        ("192.168.1.8", ""),
        ("localhost", ""),
    ],
)
def test_a_session_is_listed_with_its_device(origin, device):
    policy = parse_policy(b"devices: {phone: {mac: '02:00:00:00:77:0d'}, tv: {ip: 192.168.1.8}}", Path("hedgerow.yaml"))
    assert device_of(WebSessionRow("x", "ana", PHONE, "", 0.0, 0.0, origin), policy) == device


def test_a_removed_token_is_rejected(accounts):
    token = asyncio.run(accounts.make_token("x", ("read", "metrics"), "ana"))
    assert accounts.principal_of_token(token).scopes == {AccessScope.READ, AccessScope.METRICS}
    (row,) = accounts.tokens()
    asyncio.run(accounts.remove_token(row.id))
    assert accounts.principal_of_token(token) is None
    assert accounts.principal_of_token("") is None


def test_many_simultaneous_sign_ins_are_refused_without_hashing(accounts):
    async def storm():
        tries = (accounts.sign_in("ana", "guess number one", "", f"10.1.{n // 250}.{n % 250}", "") for n in range(200))
        return await asyncio.gather(*tries, return_exceptions=True)

    statuses = [refused.status for refused in asyncio.run(storm())]
    assert statuses.count(429) > 150
    assert sign_in(accounts)


@pytest.mark.parametrize("name", ["ana", "Ana", "ANA"])
def test_the_case_of_a_name_does_not_matter(accounts, name):
    assert accounts.principal_of_session(sign_in(accounts, name=name)).name == "ana"


def test_two_accounts_do_not_differ_by_case_only(accounts):
    with pytest.raises(InvalidInput, match="'ana'"):
        asyncio.run(accounts.create("Ana", Role.PARENT, GOOD))
    assert [row.name for row in accounts.accounts()] == ["ana"]


def test_names_of_before_that_differ_by_case_only_stay_apart(engine, clock, accounts):
    with engine.begin() as connection:
        row = "SELECT 'Ana', role, 1, password, totp, recovery FROM accounts"
        connection.exec_driver_sql(f"INSERT INTO accounts (name, role, created_at, password, totp, recovery) {row}")
    both = made(engine, clock)
    assert both.principal_of_session(sign_in(both, name="Ana")).name == "Ana"
    assert both.principal_of_session(sign_in(both, name="ana")).name == "ana"
    assert refusal(both, name="ANA").text == "Wrong name or password."


def test_wrong_passwords_count_for_all_addresses_of_a_device(accounts):
    accounts.delays.device_at = {f"192.168.1.{number}": "tom-laptop" for number in range(100, 200)}.get
    tried = [refusal(accounts, "wrong", address=f"192.168.1.{number}").status for number in range(100, 160)]
    assert tried == [403] * FREE_ATTEMPTS + [429] * (60 - FREE_ATTEMPTS)
    assert sign_in(accounts, address=PHONE), "another device"


def test_wrong_passwords_count_for_a_link_where_the_device_is_not_known(accounts):
    tried = [refusal(accounts, "wrong", address=f"fd00::{number:x}").status for number in range(1, 61)]
    assert tried == [403] * FREE_ATTEMPTS + [429] * (60 - FREE_ATTEMPTS)


def test_a_session_is_of_the_device_on_which_it_began(engine, clock, accounts):
    """Also after a restart, and when the device has more keys than before."""
    keys = {PHONE: {"02:00:00:00:77:0d", "02:00:00:00:77:0e"}, CHILD: {"02:00:00:00:77:0a"}}
    told = []
    accounts.device_keys = keys.get
    cookie = sign_in(accounts)
    for each in (accounts, made(engine, clock)):
        each.device_keys, each.on_foreign = keys.get, lambda row, address: told.append((row.account, address))
        keys[PHONE] = {"02:00:00:00:77:0e", "02:00:00:00:77:0f"}
        assert each.principal_of_session(cookie, PHONE).name == "ana"
        assert each.principal_of_session(cookie, CHILD) is None
    assert told == [("ana", CHILD)] * 2
