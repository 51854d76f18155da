"""Accounts, sessions and tokens, and their scopes. `hedgerow password` sets a password without the old one."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import pyotp
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from hedgerow.dashboards import credentials
from hedgerow.dashboards.command import hedgerow_command
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.passwords import (
    PasswordHashes,
    SetupCode,
    SignInDelays,
    SignInRefused,
    check_password_strength,
)
from hedgerow.dashboards.scopes import ROLE_SCOPES, TOKEN_SCOPES, AccessScope, Role
from hedgerow.journal.accounts import AccountRow, AccountStore, NameTaken, TokenRow, WebSessionRow

LOCAL = "hedgerow.local"
"""Key of an ASGI scope that marks requests over the Unix socket (`server.listen_locally`), which need no account."""

DAY_S = 86400.0
MAX_TOKEN_DAYS = 3650

SESSION_IDLE_S = 30 * DAY_S
"""Maximum time between two uses of a session."""
SESSION_LIFETIME_S = 180 * DAY_S
"""Maximum age of a session."""
EXTERNAL_SESSION_S = DAY_S / 2
"""Maximum age of the session of somebody who signed in elsewhere, where they may have been dismissed since."""
ONCE_SESSION_S = 4 * 3600.0
"""Maximum age of a session on a device that is not an adult's."""
PROOF_S, WEAK_PROOF_S = DAY_S / 2, 900.0
"""Time for which a password is proof enough for changes without HTTPS, and where an address is all that tells the
device, or the change is an admin's.
"""

INVITATION = "invitation"
"""First word of the `subject` of an account whose owner has been invited, and has no password yet."""

_TOUCH_INTERVAL_S = 600.0
_RECOVERY_CODES = 8


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated person or script. `session` is empty for scripts."""

    name: str
    scopes: frozenset[AccessScope]
    session: str = ""


COMMAND_LINE = Principal("the command line", frozenset(AccessScope))
"""The principal of requests over the Unix socket, which only Hedgerow's own user and root can open."""


@dataclass(frozen=True, slots=True)
class ExternalIdentity:
    """A person as the provider describes them at which they signed in.

    `subject` is the provider and their identifier there, which stays. `name` may change. `role` is that of an account,
    empty for none.
    """

    subject: str
    name: str
    role: str


type AccountRows = tuple[tuple[AccountRow, ...], tuple[WebSessionRow, ...], tuple[TokenRow, ...]]


@dataclass(slots=True)
class Accounts:
    """All accounts, written to the journal and looked up in memory. Used from one event loop.

    `device_keys` returns what the device at an address is known by, such as its MAC address. A session is valid on
    devices that have one of the keys with which it began. `on_foreign` is told of its use at another address.
    `is_recognised` returns whether the device is known by more than its address.
    """

    store: AccountStore
    clock: Callable[[], float] = time.time
    passwords: PasswordHashes = field(default_factory=PasswordHashes)
    setup_code: SetupCode = field(default_factory=SetupCode)
    device_keys: Callable[[str], Collection[str]] = lambda address: (address,)
    is_recognised: Callable[[str], bool] = lambda _address: False
    on_foreign: Callable[[WebSessionRow, str], None] = lambda _session, _address: None
    delays: SignInDelays = field(init=False)
    _accounts: dict[str, AccountRow] = field(init=False)
    _sessions: dict[str, WebSessionRow] = field(init=False)
    _tokens: dict[str, TokenRow] = field(init=False)
    _setting_up: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _changing: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.delays = SignInDelays(self.clock)
        self.adopt(self.read())

    def read(self) -> AccountRows:
        """Read everything from the journal. Blocks on the disk."""
        return self.store.accounts(), self.store.sessions(), self.store.tokens()

    def adopt(self, rows: AccountRows) -> None:
        """Use these rows from now on."""
        accounts, sessions, tokens = rows
        self._accounts = {row.name: row for row in accounts}
        self._sessions = {row.id: row for row in sessions}
        self._tokens = {row.id: row for row in tokens}

    @property
    def has_any(self) -> bool:
        """Return whether a first password has been set."""
        return bool(self._accounts)

    def principal_of_session(self, cookie: str, address: str | None = None) -> Principal | None:
        """Return the principal of a session cookie, or None if it is invalid or expired, or of another device than that
        at `address`.
        """
        row = self._sessions.get(_session_id(cookie)) if cookie else None
        account = self._accounts.get(row.account) if row else None
        now = self.clock()
        if row is None or account is None or not self._is_valid(row, now):
            return None
        if address is not None and set(row.origin.split("\n")).isdisjoint(self.device_keys(address)):
            self.on_foreign(row, address)
            return None
        if now - row.seen_at > _TOUCH_INTERVAL_S:
            self._sessions[row.id] = used = replace(row, seen_at=now, address=address or row.address)
            self.store.touch(used)
        return Principal(account.name, ROLE_SCOPES[Role(account.role)], row.id)

    def needs_password(self, principal: Principal, address: str, required: Collection[object]) -> bool:
        """Return whether a change needs the password again, since the cookie was sent without HTTPS: others can have
        read it. Browsers keep one that began over HTTPS from plain HTTP.

        `required` are the scopes one of which allows it. Giving the password begins another session. Whoever signs in
        elsewhere has no password here, and soon signs in again anyway.
        """
        session = self._sessions.get(principal.session)
        account = self._accounts.get(session.account) if session is not None else None
        if session is None or account is None or account.subject or credentials.began_over_https(session.id):
            return False
        is_weak = not self.is_recognised(address) and principal.scopes != ROLE_SCOPES[Role.OPERATOR]
        limit = WEAK_PROOF_S if is_weak or set(required) == {AccessScope.ADMIN} else PROOF_S
        return self.clock() - session.created_at > limit

    def principal_of_token(self, token: str, address: str = "") -> Principal | None:
        """Return the principal of a token, or None if there is no such token or it has expired.

        `address` is that from which it is used.
        """
        row, now = self._tokens.get(_digest(token)), self.clock()
        if row is None or (row.expires_at is not None and row.expires_at <= now):
            return None
        if address and (row.used_at is None or now - row.used_at > _TOUCH_INTERVAL_S):
            self._tokens[row.id] = used = replace(row, used_at=now, used_from=address)
            self.store.touch(used)
        return Principal(f"token {row.name}", frozenset().union(*(TOKEN_SCOPES[scope] for scope in row.scopes.split())))

    def person_of(self, headers: Headers) -> str:
        """Return the session or token by which somebody is signed in, from the head of a request; empty if
        nobody is.
        """
        cookie, token = credentials.session_cookie(headers), credentials.bearer_token(headers)
        principal = self.principal_of_session(cookie) if cookie else None
        if principal is None and token:
            principal = self.principal_of_token(token)
        return "" if principal is None else principal.session or principal.name

    async def sign_in(
        self, name: str, password: str, code: str, address: str, agent: str, scheme: str = "", *, is_once: bool = False
    ) -> str:
        """Begin a session and return its cookie. Raises `SignInRefused`."""
        principal = await self.authenticate(name, password, code, address)
        return await self.begin_session(principal.name, address, agent, scheme, is_once=is_once)

    async def sign_in_from(self, identity: ExternalIdentity, address: str, agent: str, scheme: str = "") -> str:
        """Begin a session of somebody who signed in at a provider, and return its cookie.

        Their account is made by their first sign-in, and has the role that the provider's groups give it. Raises
        `SignInRefused`.
        """
        row = next((each for each in self._accounts.values() if each.subject == identity.subject), None)
        if not identity.role:
            for session in self.sessions(row.name) if row is not None else ():
                await self.end_session(session.id)
            raise SignInRefused("You have signed in there, but none of your groups has a role here.")
        if row is None:
            row = await self._add_from(identity)
        elif row.role != identity.role:
            await self.change(row, role=identity.role)
        return await self.begin_session(row.name, address, agent, scheme)

    async def _add_from(self, identity: ExternalIdentity) -> AccountRow:
        name = re.sub(r"[^\w.@'’-]+", " ", identity.name).strip()[:40].strip()
        if not self.has_any:
            raise SignInRefused("The first account is an admin's.")
        check_account_name(name)
        row = AccountRow(name, Role(identity.role).value, "", self.clock(), subject=identity.subject)
        await self.add(row, refusal=SignInRefused)
        return row

    async def add(self, row: AccountRow, *, refusal: type[InvalidInput] = InvalidInput) -> None:
        """Add an account. The first one revokes all tokens, which were made without a password.

        Raises `refusal` if its name is taken.
        """
        async with self._changing:
            try:
                if self._spelling(row.name) in self._accounts:
                    raise NameTaken
                is_first = await run_in_threadpool(self.store.add_account, row)
            except NameTaken:
                raise refusal("There is an account called '%(name)s' already.", name=self._spelling(row.name)) from None
            self._accounts[row.name] = row
            if is_first:
                self._tokens.clear()

    async def authenticate(self, name: str, password: str, code: str, address: str) -> Principal:
        """Return the owner of an account, without a session. Raises `SignInRefused`."""
        self.delays.check(address)
        account = self._accounts.get(self._spelling(name))
        is_right = await self.passwords.matches((account and account.password) or self.passwords.dummy, password)
        if account is None or not is_right:
            self.delays.count_failure(address)
            raise SignInRefused("Wrong name or password.")
        if account.totp and not code:
            raise SignInRefused("Now enter the code from your authenticator app.", needs_code=True)
        if account.totp:
            try:
                await self._take_code(account, code.replace(" ", ""))
            except SignInRefused:
                self.delays.count_failure(address)
                raise
        self.delays.forget(address)
        return Principal(account.name, ROLE_SCOPES[Role(account.role)])

    def _spelling(self, name: str) -> str:
        """Return a name as its account is spelled: phones begin a field with a capital letter."""
        same = [each for each in self._accounts if each.casefold() == name.casefold()]
        return same[0] if name not in self._accounts and len(same) == 1 else name

    async def create(self, name: str, role: Role, password: str) -> None:
        """Create an account with a password. The first one is an admin's. Raises `InvalidInput`."""
        check_account_name(name)
        if not self.has_any and role is not Role.ADMIN:
            raise InvalidInput("The first account is an admin's.")
        await self.add(AccountRow(name, role.value, await self._hash(name, password), self.clock()))

    async def create_first(
        self, name: str, password: str, code: str, address: str, agent: str, scheme: str = ""
    ) -> str:
        """Create the first account, an admin's, and begin its session.

        Raises `SignInRefused` for a wrong setup code, and `InvalidInput` for the rest, also if there is an account.
        """
        async with self._setting_up:  # of two people who know the code, the first one wins
            if self.has_any:
                raise InvalidInput("A password has already been set: sign in with it.")
            if not self.setup_code.accepts(code):
                raise SignInRefused(
                    "That is not the setup code. `%(command)s setup` on the machine shows it.",
                    command=hedgerow_command(),
                )
            await self.create(name, Role.ADMIN, password)
        return await self.begin_session(name, address, agent, scheme)

    async def set_password(self, name: str, password: str) -> None:
        """Set a password and end all sessions of the account. Its second factor stays. Raises `InvalidInput`."""
        account = self._known(name)
        if account.subject and not account.subject.startswith(INVITATION):
            raise InvalidInput("'%(name)s' signs in elsewhere, without a password here.", name=name)
        await self.change(account, password=await self._hash(name, password), subject="")

    async def check_password(self, name: str, password: str) -> None:
        """Raise `InvalidInput` for a wrong password."""
        if not await self.passwords.matches(self._known(name).password, password):
            raise InvalidInput("That is not your password.")

    async def remove(self, name: str, row: AccountRow | None = None) -> None:
        """Remove an account, if it still signs in as in `row`.

        Raises `InvalidInput`, also for the last admin's with a password.
        """
        async with self._changing:
            self._check_other_admin(name)
            if not await run_in_threadpool(self.store.remove_account, row or self._accounts[name]):
                raise _changed_elsewhere(name)
            del self._accounts[name]
            self._forget_sessions(name)

    def _check_other_admin(self, name: str) -> None:
        """Raise `InvalidInput` if an account is unknown, or the last one of an admin with a password."""
        self._known(name)
        others = (row for row in self._accounts.values() if row.name != name)
        if not any(row.role == Role.ADMIN and not row.subject for row in others):
            raise InvalidInput("This is the last account of an admin.")

    async def start_totp(self, name: str, secret: str, code: str) -> tuple[str, ...]:
        """Switch the second factor on by a first valid code, which counts as used, and return recovery codes.

        Raises `InvalidInput`.
        """
        step = _time_step(secret, code.replace(" ", ""))
        if step is None:
            raise InvalidInput("That code is wrong. Check the clocks of both devices.")
        codes = tuple(secrets.token_hex(5) for _ in range(_RECOVERY_CODES))
        recovery = " ".join(map(_digest, codes))
        await self.change(self._known(name), totp=secret, totp_step=step, recovery=recovery)
        return codes

    async def stop_totp(self, name: str) -> None:
        """Switch the second factor off. Raises `InvalidInput`."""
        await self.change(self._known(name), totp="", recovery="")

    def accounts(self) -> tuple[AccountRow, ...]:
        return tuple(self._accounts.values())

    def sessions(self, account: str | None = None) -> tuple[WebSessionRow, ...]:
        """Return the valid sessions, of one account or of all."""
        now = self.clock()
        rows = (row for row in self._sessions.values() if account is None or row.account == account)
        return tuple(row for row in rows if self._is_valid(row, now))

    def _is_valid(self, session: WebSessionRow, now: float) -> bool:
        account = self._accounts.get(session.account)
        lifetime = EXTERNAL_SESSION_S if account is not None and account.subject else SESSION_LIFETIME_S
        lifetime = ONCE_SESSION_S if session.id.startswith(credentials.ONCE) else lifetime
        if not session.origin:  # from before version 0.2
            return False
        return now - session.seen_at <= SESSION_IDLE_S and now - session.created_at <= lifetime

    async def end_session(self, session_id: str) -> None:
        await run_in_threadpool(self.store.end_session, session_id)
        self._sessions.pop(session_id, None)

    def tokens(self) -> tuple[TokenRow, ...]:
        return tuple(self._tokens.values())

    async def make_token(self, name: str, scopes: tuple[str, ...], actor: str, days: int | None = None) -> str:
        """Make a token for a script, for some days or without an end.

        It cannot be shown again. Raises `InvalidInput`.
        """
        unknown = [scope for scope in scopes if scope not in TOKEN_SCOPES]
        if unknown or not scopes or not name.strip():
            raise InvalidInput("A token needs a name and one or more of the scopes read, metrics, leases and manage.")
        token = "hedgerow_" + secrets.token_urlsafe(32)
        now = self.clock()
        expires = None if days is None else now + days * DAY_S
        row = TokenRow(_digest(token), name.strip()[:80], " ".join(dict.fromkeys(scopes)), actor, now, expires)
        await run_in_threadpool(self.store.add_token, row)
        self._tokens[row.id] = row
        return token

    async def remove_token(self, token_id: str) -> None:
        """Revoke a token. Raises `journal.access_store.NoSuchEntry`."""
        await run_in_threadpool(self.store.remove_token, token_id)
        self._tokens.pop(token_id, None)

    async def begin_session(
        self, account: str, address: str, agent: str, scheme: str = "", *, is_once: bool = False
    ) -> str:
        """Begin a session of somebody who has been authenticated, and return its cookie.

        `is_once`: it lasts `ONCE_SESSION_S`, on a device that is not an adult's.
        """
        cookie = credentials.make_session_cookie(is_once=is_once, scheme=scheme)
        now = self.clock()
        origin = "\n".join(sorted(self.device_keys(address)))
        row = WebSessionRow(_session_id(cookie), account, address, agent[:200], now, now, origin)
        await run_in_threadpool(self.store.add_session, row)
        self._sessions[row.id] = row
        return cookie

    async def change(self, row: AccountRow, *, ends_sessions: bool = True, **values: object) -> AccountRow:
        """Change columns of an account, and end its sessions. Returns it as it is then.

        Raises `InvalidInput` if these columns are not as in `row` any more, or for the last admin with a password.
        """
        async with self._changing:
            if values.get("role", Role.ADMIN) != Role.ADMIN:
                self._check_other_admin(row.name)
            changed = await run_in_threadpool(self.store.change_account, row, ends_sessions=ends_sessions, **values)
            if changed is None:
                raise _changed_elsewhere(row.name)
            self._accounts[row.name] = changed
            if ends_sessions:
                self._forget_sessions(row.name)
            return changed

    def _forget_sessions(self, account: str) -> None:
        self._sessions = {key: row for key, row in self._sessions.items() if row.account != account}

    def _known(self, name: str) -> AccountRow:
        try:
            return self._accounts[name]
        except KeyError:
            raise InvalidInput("There is no account called '%(name)s'.", name=name) from None

    async def _hash(self, name: str, password: str) -> str:
        check_password_strength(name, password)
        return await self.passwords.hash(password)

    async def _take_code(self, account: AccountRow, code: str) -> None:
        """Use a code that works now. It works once, and no earlier one works after it. Raises `SignInRefused`."""
        step = _time_step(account.totp, code)
        if step is not None:
            if not await run_in_threadpool(self.store.use_step, account.name, step):
                raise SignInRefused("That code no longer works. Wait for the next one.", needs_code=True)
            return
        left = account.recovery.split()
        if _digest(code) not in left:
            raise SignInRefused("That code is not right.", needs_code=True)
        left.remove(_digest(code))
        try:
            await self.change(account, recovery=" ".join(left))
        except InvalidInput:
            raise SignInRefused("That code is not right.", needs_code=True) from None


def _time_step(secret: str, code: str) -> int | None:
    """Return the time step (RFC 6238) of a code, which is the current one or one of its neighbours; None for a wrong
    code.
    """
    totp, now = pyotp.TOTP(secret), int(time.time())
    steps = (now // totp.interval + shift for shift in (-1, 0, 1))
    return next((step for step in steps if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode())), None)


def check_account_name(name: str) -> None:
    """Raise `InvalidInput` for a name that no account can have.

    A person's name is one, so that both can be the same.
    """
    if len(name) > 40 or not re.fullmatch(r"[\w.@'’-]+( [\w.@'’-]+)*", name):
        raise InvalidInput("A name has at most 40 letters, digits, spaces, dots and dashes.")


def _changed_elsewhere(name: str) -> InvalidInput:
    return InvalidInput("The account of %(name)s was changed or removed at the same time. Try again.", name=name)


def _session_id(cookie: str) -> str:
    """Return the id of a session. Without its first characters, a cookie has another digest."""
    return credentials.kind_of_session(cookie) + _digest(cookie)


def _digest(secret: str) -> str:
    # The secrets have 256 random bits, so salt or a slow hash would add nothing.
    return hashlib.sha256(secret.encode()).hexdigest()
