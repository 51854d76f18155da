"""Who may sign in, who is signed in, and the tokens of scripts: few rows, written at once. No password or token is ever in them.

What a cookie or token holds is kept as a hash only, so that a copy of the journal opens nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError

from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.tables import accounts, sessions, tokens


@dataclass(frozen=True, slots=True)
class AccountRow:
    """Somebody who may sign in. `password` is as argon2 writes it; `totp` is empty without a second factor."""

    name: str
    role: str
    password: str
    created_at: float
    totp: str = ""
    recovery: str = ""


@dataclass(frozen=True, slots=True)
class WebSessionRow:
    """Somebody who is signed in. `id` is a hash of what the cookie holds."""

    id: str
    account: str
    address: str
    agent: str
    created_at: float
    seen_at: float


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A script's token. `id` is a hash of it; `scopes` are words with spaces between."""

    id: str
    name: str
    scopes: str
    giver: str
    created_at: float


class NameTaken(ValueError):
    """An account of this name is there already. The caller's fault."""


class AccountStore:
    """Every method waits for the disk: call it from a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def accounts(self) -> tuple[AccountRow, ...]:
        with self._engine.connect() as connection:
            return tuple(AccountRow(**row._mapping) for row in connection.execute(select(accounts).order_by(accounts.c.created_at)))

    def sessions(self) -> tuple[WebSessionRow, ...]:
        with self._engine.connect() as connection:
            return tuple(WebSessionRow(**row._mapping) for row in connection.execute(select(sessions).order_by(sessions.c.created_at)))

    def tokens(self) -> tuple[TokenRow, ...]:
        with self._engine.connect() as connection:
            return tuple(TokenRow(**row._mapping) for row in connection.execute(select(tokens).order_by(tokens.c.created_at)))

    def add_account(self, row: AccountRow) -> bool:
        """Tells whether it is the first one, which ends all tokens: anybody at the machine could make them before. Raises `NameTaken`."""
        try:
            with self._engine.begin() as connection:
                is_first = connection.execute(select(accounts.c.name).limit(1)).first() is None
                connection.execute(accounts.insert().values(asdict(row)))
                if is_first:
                    connection.execute(tokens.delete())
                return is_first
        except IntegrityError:
            raise NameTaken(f"There is an account called '{row.name}' already.") from None

    def change_account(self, row: AccountRow) -> None:
        """Writes all of an account anew, and ends its sessions. Raises `NoSuchEntry`."""
        with self._engine.begin() as connection:
            change = accounts.update().where(accounts.c.name == row.name).values(asdict(row))
            if not connection.execute(change).rowcount:
                raise NoSuchEntry(f"there is no account {row.name}")
            connection.execute(sessions.delete().where(sessions.c.account == row.name))

    def remove_account(self, name: str) -> None:
        """Raises `NoSuchEntry`."""
        with self._engine.begin() as connection:
            if not connection.execute(accounts.delete().where(accounts.c.name == name)).rowcount:
                raise NoSuchEntry(f"there is no account {name}")
            connection.execute(sessions.delete().where(sessions.c.account == name))

    def add_session(self, row: WebSessionRow) -> None:
        with self._engine.begin() as connection:
            connection.execute(sessions.insert().values(asdict(row)))

    def touch_session(self, session_id: str, seen_at: float) -> None:
        with self._engine.begin() as connection:
            connection.execute(sessions.update().where(sessions.c.id == session_id).values(seen_at=seen_at))

    def end_session(self, session_id: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(sessions.delete().where(sessions.c.id == session_id))

    def add_token(self, row: TokenRow) -> None:
        with self._engine.begin() as connection:
            connection.execute(tokens.insert().values(asdict(row)))

    def remove_token(self, token_id: str) -> None:
        """Raises `NoSuchEntry`."""
        with self._engine.begin() as connection:
            if not connection.execute(tokens.delete().where(tokens.c.id == token_id)).rowcount:
                raise NoSuchEntry("there is no such token")
