"""Accounts, web sessions and API tokens.

Passwords, cookies and tokens are stored as hashes: a copy of the journal opens nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Delete, Table, Update, exists
from sqlalchemy.exc import DBAPIError, IntegrityError

from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.store import Store
from hedgerow.journal.tables import accounts, tokens, web_sessions

_ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account. `password` is an argon2 hash; `totp` is empty without a second factor.

    `subject` is the provider at which somebody signs in, who has no password here, and their identifier there; or the
    invitation by which somebody may choose their password.
    `totp_step` is the time step (RFC 6238) of the last code of the second factor that was used.
    """

    name: str
    role: str
    password: str
    created_at: float
    totp: str = ""
    recovery: str = ""
    subject: str = ""
    totp_step: int = 0


@dataclass(frozen=True, slots=True)
class WebSessionRow:
    """A signed-in browser.

    `id` is a hash of its cookie, `address` that of its last use, and `origin` the keys of the device that it began on,
    each on a line.
    """

    id: str
    account: str
    address: str
    agent: str
    created_at: float
    seen_at: float
    origin: str = ""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A script's token.

    `id` is a hash of it; `scopes` are words separated by spaces. Without `expires_at` it has no end. `used_at` and
    `used_from` are the instant and the IP address of its last use, a few minutes late.
    """

    id: str
    name: str
    scopes: str
    actor: str
    created_at: float
    expires_at: float | None = None
    used_at: float | None = None
    used_from: str = ""


class NameTaken(ValueError):
    """An account of this name exists. The caller's fault."""


class AccountStore:
    """The store of accounts, web sessions and tokens. Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def accounts(self) -> tuple[AccountRow, ...]:
        return self._all(accounts, AccountRow)

    def sessions(self) -> tuple[WebSessionRow, ...]:
        return self._all(web_sessions, WebSessionRow)

    def tokens(self) -> tuple[TokenRow, ...]:
        return self._all(tokens, TokenRow)

    def add_account(self, row: AccountRow) -> bool:
        """Add an account.

        Return True for the first one, which ends all tokens, since anyone at the machine could create them before.

        Raises `NameTaken`.
        """
        try:
            with self._store.begin() as connection:
                is_first = connection.execute(self._store.select(accounts).limit(1)).first() is None
                connection.execute(self._store.insert(accounts).values(asdict(row)))
                if is_first:
                    connection.execute(self._store.delete(tokens))
                return is_first
        except IntegrityError:
            raise NameTaken(f"There is an account called '{row.name}' already.") from None

    def change_account(self, row: AccountRow, *, ends_sessions: bool = True, **values: object) -> AccountRow | None:
        """Change columns of an account, and end its sessions.

        Returns the account as it is then, with what others have changed in other columns. Returns None if nothing was
        changed: one of these columns has another value than in `row`, or no admin with a password would be left.
        """
        changed = (
            self._store.update(accounts)
            .values(values)
            .where(*(accounts.c[name] == getattr(row, name) for name in values if name != "totp_step"))
        )
        if values.get("role", _ADMIN) != _ADMIN:
            changed = changed.where(_has_other_admin(self._store, row.name))
        return self._change(row.name, changed, ends_sessions=ends_sessions, **values)

    def use_step(self, name: str, step: int) -> bool:
        """Note that the code of a time step was used.

        Returns False if it or a later one was used before, also on another node.
        """
        unused = self._store.update(accounts).where(accounts.c.name == name, accounts.c.totp_step < step)
        return self._store.execute(unused.values(totp_step=step)) == 1

    def remove_account(self, row: AccountRow) -> bool:
        """Delete an account and its sessions.

        Returns False if it signs in otherwise than `row` by now, is gone, or no admin would be left.
        """
        return bool(
            self._change(
                row.name,
                self._store.delete(accounts).where(
                    accounts.c.subject == row.subject, _has_other_admin(self._store, row.name)
                ),
            )
        )

    def _change(
        self, name: str, statement: Update | Delete, *, ends_sessions: bool = True, **values: Any
    ) -> AccountRow | None:
        """Change or delete an account if the conditions are met. Returns it with the new values."""
        with self._store.begin() as connection:
            # PostgreSQL would let two machines change different rows at once, each for a condition about the other's.
            rows = connection.execute(self._store.select(accounts).order_by(accounts.c.name).with_for_update()).all()
            if not connection.execute(statement.where(accounts.c.name == name)).rowcount:
                return None
            if ends_sessions:
                connection.execute(self._store.delete(web_sessions).where(web_sessions.c.account == name))
            return replace(next(AccountRow(**row._mapping) for row in rows if row.name == name), **values)

    def add_session(self, row: WebSessionRow) -> None:
        self._store.execute(self._store.insert(web_sessions).values(asdict(row)))

    def touch(self, used: WebSessionRow | TokenRow) -> None:
        """Write the last use of a session or token, unless the database can't take it now: people go on."""
        match used:
            case WebSessionRow():
                table, values = web_sessions, {"seen_at": used.seen_at, "address": used.address}
            case TokenRow():
                table, values = tokens, {"used_at": used.used_at, "used_from": used.used_from}
        with contextlib.suppress(DBAPIError):
            self._store.execute(self._store.update(table).where(table.c.id == used.id).values(values))

    def end_session(self, session_id: str) -> None:
        self._store.execute(self._store.delete(web_sessions).where(web_sessions.c.id == session_id))

    def add_token(self, row: TokenRow) -> None:
        self._store.execute(self._store.insert(tokens).values(asdict(row)))

    def remove_token(self, token_id: str) -> None:
        """Delete a token. Raises `NoSuchEntry`."""
        if not self._store.execute(self._store.delete(tokens).where(tokens.c.id == token_id)):
            raise NoSuchEntry("there is no such token")

    def _all[Kind](self, table: Table, kind: Callable[..., Kind]) -> tuple[Kind, ...]:
        return tuple(
            kind(**row._mapping) for row in self._store.rows(self._store.select(table).order_by(table.c.created_at))
        )


def _has_other_admin(store: Store, name: str) -> ColumnElement[bool]:
    """Return the condition that somebody else than `name` is an admin with a password."""
    other = accounts.alias()
    return exists().where(store.own(other), other.c.role == _ADMIN, other.c.subject == "", other.c.name != name)
