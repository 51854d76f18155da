"""Invitations in the journal, and roles of accounts that change later.

An invitation is an account that has the digest of a code in the place of a password.

An invited account signs nobody in. Whoever has the code chooses its password, once: the row is changed only while it
still has that digest, also if two people try at the same time on two machines of a site. The code has 79 random bits,
is shown once, and is written nowhere.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence

from hedgerow.dashboards.accounts import INVITATION, Accounts, Principal, check_account_name
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.notices import Notice, localized
from hedgerow.dashboards.passwords import CODE_ALPHABET, SignInRefused, check_password_strength
from hedgerow.dashboards.scopes import ROLE_SCOPES, Role
from hedgerow.dashboards.words.languages import message
from hedgerow.features.contract import Core
from hedgerow.features.invitations.orders import VALID_HOURS, InvitationOrder, MadeInvitation, OpenInvitation
from hedgerow.journal.accounts import AccountRow
from hedgerow.policies.model import Policy
from hedgerow.policies.notices import NoticeTopic

GROUPS, GROUP_LENGTH = 4, 4


class InvitationKeeper:
    """The invitations of a site."""

    def __init__(
        self,
        accounts: Accounts,
        policy: Callable[[], Policy],
        notify: Callable[[Sequence[Notice]], None],
        clock: Callable[[], float],
    ) -> None:
        self._accounts, self._policy, self._notify, self._clock = accounts, policy, notify, clock

    def open(self) -> tuple[OpenInvitation, ...]:
        """Return the invitations that nobody has accepted, also those that have expired."""
        return tuple(_opened(row) for row in self._accounts.accounts() if row.subject.startswith(INVITATION))

    async def make(self, order: InvitationOrder, actor: str) -> MadeInvitation:
        """Make an invitation, in the place of an earlier one for the same name. Raises `InvalidInput`."""
        name = self._spelling(" ".join(order.name.split()))
        check_account_name(name)
        if not self._accounts.has_any:
            raise InvalidInput("The first account is an admin's.")
        self._check_adult(name)
        code = "".join(secrets.choice(CODE_ALPHABET) for _ in range(GROUPS * GROUP_LENGTH))
        expires = self._clock() + VALID_HOURS * 3600.0
        row = AccountRow(
            name=name,
            role=order.role.value,
            password="",
            created_at=self._clock(),
            subject=f"{INVITATION} {_digest(code)} {expires:.0f} {actor}",
        )
        before = self._row(name)
        if before is not None and before.subject.startswith(INVITATION):
            await self._accounts.change(before, role=row.role, created_at=row.created_at, subject=row.subject)
        else:
            await self._accounts.add(row)
        groups = (code[start : start + GROUP_LENGTH] for start in range(0, len(code), GROUP_LENGTH))
        return MadeInvitation(name, row.role, "-".join(groups), expires)

    async def withdraw(self, name: str) -> None:
        """Make an invitation invalid. Raises `InvalidInput` for an account that nobody was invited to."""
        row = self._row(name)
        if row is None or not row.subject.startswith(INVITATION):
            raise InvalidInput("There is no open invitation for '%(name)s'.", name=name)
        await self._accounts.remove(name, row)

    async def accept(self, code: str, password: str, address: str) -> Principal:
        """Give an invited account its password. Returns its owner, who has been authenticated.

        Wrong codes delay the device, as wrong passwords do. Raises `SignInRefused`, also for somebody who follows the
        rules of a child by now, and `InvalidInput` for a password that is too weak, after which the code still works.
        """
        accounts = self._accounts
        accounts.delays.check(address)
        row = self._of("".join(code.split()).replace("-", "").upper())
        if row is None:
            accounts.delays.count_failure(address)
            raise _refused()
        self._check_adult(row.name, refusal=SignInRefused)
        check_password_strength(row.name, password)
        hashed, now = await accounts.passwords.hash(password), self._clock()
        try:
            accepted = await accounts.change(row, password=hashed, subject="", created_at=now)
        except InvalidInput:  # somebody was faster, also on another machine
            raise _refused() from None
        accounts.delays.forget(address)
        text = localized(
            "%(name)s has accepted the invitation, on a device at %(address)s.", name=row.name, address=address
        )
        self._notify([Notice(NoticeTopic.NEW_DEVICE, f"invitation of {row.name} at {now:.0f}", text)])
        return Principal(row.name, ROLE_SCOPES[Role(accepted.role)])

    async def set_role(self, name: str, role: Role) -> None:
        """Give an account another role, which its sessions have at once.

        Raises `InvalidInput`, also for the last admin's with a password, and for an open invitation that would make an
        admin.
        """
        row = self._row(name)
        if row is None:
            raise InvalidInput("There is no account called '%(name)s'.", name=name)
        if row.subject and not row.subject.startswith(INVITATION):
            raise InvalidInput("The provider at which '%(name)s' signs in says which role they have.", name=name)
        if row.subject and role is Role.ADMIN:
            raise InvalidInput("%(name)s can become an admin once they have accepted the invitation.", name=name)
        await self._accounts.change(row, ends_sessions=False, role=role.value, subject=row.subject)

    def _check_adult(self, name: str, refusal: type[InvalidInput] = InvalidInput) -> None:
        policy = self._policy()
        person = policy.people.get(name)
        if person is not None and policy.profiles[person.profile].is_for_children:
            text = message("%(name)s follows the rules of a child, and cannot manage the network.")
            raise refusal(text, name=name)

    def _row(self, name: str) -> AccountRow | None:
        return next((row for row in self._accounts.accounts() if row.name == name), None)

    def _of(self, code: str) -> AccountRow | None:
        """Return the account of a code that can still be used."""
        begins, now = f"{INVITATION} {_digest(code)} ", self._clock()
        found = next((row for row in self._accounts.accounts() if row.subject.startswith(begins)), None)
        return found if found is not None and _opened(found).expires > now else None

    def _spelling(self, name: str) -> str:
        """Return a name as the policy spells it, so that the account is that person's."""
        return next((each for each in self._policy().people if each.casefold() == name.casefold()), name)


def invitations_of(core: Core) -> InvitationKeeper:
    """Make the part of control that keeps invitations."""
    return InvitationKeeper(core.accounts, lambda: core.policy, core.notify, core.clock)


def _opened(row: AccountRow) -> OpenInvitation:
    _, _, expires, actor = row.subject.split(" ", 3)
    return OpenInvitation(row.name, row.role, float(expires), actor)


def _refused() -> SignInRefused:
    return SignInRefused(
        "This invitation does not work: it was used or withdrawn, or it is too old. Ask for a new one."
    )


def _digest(code: str) -> str:
    # The code has 79 random bits, so salt or a slow hash would add little.
    return hashlib.sha256(code.encode()).hexdigest()
