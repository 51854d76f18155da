"""Changes of accounts that arrive at the same time, at one machine and at two machines of a store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from postgres_server import PostgresServer, running_server

from hedgerow.dashboards.accounts import Accounts
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.passwords import PasswordHashes, SignInRefused
from hedgerow.dashboards.scopes import Role
from hedgerow.features.invitations.keeper import InvitationKeeper
from hedgerow.features.invitations.orders import InvitationOrder
from hedgerow.journal.accounts import AccountStore
from hedgerow.journal.database import open_journal
from hedgerow.journal.store import Store, StoreAddress
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.load import load_policy

NOW = 1_780_000_000.0
PASSWORD = "quiet hedgehog on a wall"
PHONE = "192.168.1.5"


class SlowHashes(PasswordHashes):
    """Hashes that wait for `go`, after `begun`."""

    def __init__(self) -> None:
        super().__init__(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()

    async def hash(self, secret: str) -> str:
        self.begun.set()
        await self.go.wait()
        return await super().hash(secret)


class Machine:
    """The accounts and invitations of one machine."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self.hashes = SlowHashes()
        self.accounts = Accounts(AccountStore(store), lambda: NOW, self.hashes)
        self.invitations = InvitationKeeper(self.accounts, lambda: policy, lambda _notices: None, lambda: NOW)

    def roles(self) -> dict[str, str]:
        return {row.name: row.role for row in self.accounts.accounts()}

    def refresh(self) -> None:
        """Read what the other machine has written, as the follower of the store does."""
        self.accounts.adopt(self.accounts.read())

    async def invite(self) -> str:
        return (await self.invitations.make(InvitationOrder(name="Ben"), "ana")).code


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    place: Path | StoreAddress = tmp_path / "journal.sqlite"
    if request.param == "PostgreSQL":
        server: PostgresServer = request.getfixturevalue("server")
        place = server.address(server.database())
    with closing(open_journal(place)) as store:
        yield store


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    (tmp_path / "hedgerow.yaml").write_text("people: {Ben: {profile: adult}}\n")
    return load_policy(tmp_path / "hedgerow.yaml")


@pytest.fixture
def machines(store: Store, policy: Policy) -> tuple[Machine, Machine]:
    """Two machines of a site with two admins."""
    one = Machine(store, policy)
    for name in ("ana", "tom"):
        asyncio.run(one.accounts.create(name, Role.ADMIN, PASSWORD))
    return one, Machine(store, policy)


def demote(machine: Machine, name: str) -> Awaitable[None]:
    return machine.invitations.set_role(name, Role.PARENT)


def remove(machine: Machine, name: str) -> Awaitable[None]:
    return machine.accounts.remove(name)


@pytest.mark.parametrize("machine_of_tom", [0, 1], ids=["one machine", "two machines"])
@pytest.mark.parametrize("first", [demote, remove])
@pytest.mark.parametrize("second", [demote, remove])
def test_an_admin_is_left_whatever_two_do_at_once(
    machines: tuple[Machine, Machine],
    machine_of_tom: int,
    first: Callable[[Machine, str], Awaitable[None]],
    second: Callable[[Machine, str], Awaitable[None]],
) -> None:
    one, other = machines[0], machines[machine_of_tom]

    async def both() -> list[BaseException | None]:
        return list(await asyncio.gather(first(one, "ana"), second(other, "tom"), return_exceptions=True))

    results = asyncio.run(both())
    assert sorted(isinstance(each, InvalidInput) for each in results) == [False, True], results
    for machine in machines:
        machine.refresh()
        assert list(machine.roles().values()).count("admin") == 1


def test_an_account_that_was_removed_elsewhere_does_not_come_back(machines: tuple[Machine, Machine]) -> None:
    one, other = machines
    asyncio.run(one.accounts.create("eve", Role.PARENT, PASSWORD))
    other.refresh()
    asyncio.run(other.accounts.remove("eve"))
    for change in (
        lambda: one.invitations.set_role("eve", Role.OPERATOR),
        lambda: one.accounts.set_password("eve", PASSWORD + "!"),
        lambda: one.accounts.remove("eve"),
    ):
        with pytest.raises(InvalidInput, match="changed or removed"):
            asyncio.run(change())
    one.refresh()
    assert "eve" not in one.roles()


@pytest.mark.parametrize("changer", [0, 1], ids=["one machine", "two machines"])
def test_a_role_that_is_set_while_somebody_accepts_counts(machines: tuple[Machine, Machine], changer: int) -> None:
    one = machines[0]

    async def accept() -> None:
        code = await one.invite()
        machines[1].refresh()
        one.hashes.begun.clear()
        one.hashes.go.clear()
        accepting = asyncio.create_task(one.invitations.accept(code, PASSWORD, PHONE))
        await one.hashes.begun.wait()
        await machines[changer].invitations.set_role("Ben", Role.OPERATOR)
        one.hashes.go.set()
        accepted = await accepting
        assert accepted.scopes == {"operate"}

    asyncio.run(accept())
    assert one.roles()["Ben"] == "operator"


@pytest.mark.parametrize("changer", [0, 1], ids=["one machine", "two machines"])
def test_a_role_that_is_set_while_the_password_changes_counts(machines: tuple[Machine, Machine], changer: int) -> None:
    one = machines[0]

    async def change() -> None:
        one.hashes.begun.clear()
        one.hashes.go.clear()
        changing = asyncio.create_task(one.accounts.set_password("tom", PASSWORD + "!"))
        await one.hashes.begun.wait()
        await machines[changer].invitations.set_role("tom", Role.OPERATOR)
        one.hashes.go.set()
        await changing

    asyncio.run(change())
    assert one.roles()["tom"] == "operator"
    assert {row.name: row.role for row in one.accounts.store.accounts()}["tom"] == "operator"


def test_an_invitation_that_was_accepted_elsewhere_is_neither_replaced_nor_withdrawn(
    machines: tuple[Machine, Machine],
) -> None:
    one, other = machines
    code = asyncio.run(one.invite())
    other.refresh()
    asyncio.run(other.invitations.accept(code, PASSWORD, PHONE))
    for change in (one.invite, lambda: one.invitations.withdraw("Ben")):
        with pytest.raises(InvalidInput, match="changed or removed"):
            asyncio.run(change())
    other.refresh()
    assert asyncio.run(other.accounts.sign_in("Ben", PASSWORD, "", PHONE, ""))


def test_a_withdrawn_invitation_is_not_accepted_at_the_same_time(machines: tuple[Machine, Machine]) -> None:
    one, other = machines

    async def both() -> list[object]:
        code = await one.invite()
        other.refresh()
        withdrawal, acceptance = (
            one.invitations.withdraw("Ben"),
            other.invitations.accept(code, PASSWORD, PHONE),
        )
        return list(await asyncio.gather(withdrawal, acceptance, return_exceptions=True))

    results = asyncio.run(both())
    assert sum(isinstance(each, InvalidInput) for each in results) == 1, results
    one.refresh()
    assert ("Ben" in one.roles()) is not isinstance(results[1], SignInRefused)


def test_two_spellings_of_a_name_are_one_account(machines: tuple[Machine, Machine]) -> None:
    one = machines[0]

    async def both() -> list[BaseException | None]:
        tries = (one.accounts.create(name, Role.PARENT, PASSWORD) for name in ("Eve", "eve"))
        return await asyncio.gather(*tries, return_exceptions=True)

    assert sorted(isinstance(each, InvalidInput) for each in asyncio.run(both())) == [False, True]


def test_an_open_invitation_does_not_become_an_admins(machines: tuple[Machine, Machine]) -> None:
    one = machines[0]
    code = asyncio.run(one.invite())
    with pytest.raises(InvalidInput, match="accepted"):
        asyncio.run(one.invitations.set_role("Ben", Role.ADMIN))
    asyncio.run(one.invitations.accept(code, PASSWORD, PHONE))
    asyncio.run(one.invitations.set_role("Ben", Role.ADMIN))
    assert one.roles()["Ben"] == "admin"
    (ben,) = (row for row in one.accounts.accounts() if row.name == "Ben")
    stale = replace(ben, role="parent")
    assert one.accounts.store.change_account(stale, role="operator") is None, "it was changed since"
