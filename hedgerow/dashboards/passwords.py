"""Passwords, PINs and the setup code: hashes, minimum strength, and delays after wrong ones.

Wrong passwords delay the device that they come from, never the account, so nobody can lock a parent out. On the machine
itself the delay is short.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from starlette.concurrency import run_in_threadpool

from hedgerow.backoff import pause_after
from hedgerow.dashboards.control import InvalidInput
from hedgerow.policies.model import DeviceId
from hedgerow.proxy.limits import AttemptLimiter

MIN_PASSWORD_LENGTH = 10
FREE_ATTEMPTS = 5
FIRST_DELAY_S = 30.0
MAX_DELAY_S = 900.0
MAX_LOCAL_DELAY_S = 30.0
UNNAMED_TRIES, ALL_UNNAMED_TRIES = 10, 30
"""Wrong passwords per hour on a device that the policy does not name, and on all of them together."""
_MAX_PENDING_HASHES = 8
_MAX_TRACKED_SOURCES = 10_000


class SignInRefused(InvalidInput):
    """A refused sign-in, with a sentence for the person. `status` is 403 for wrong credentials and 429 for a delay."""

    def __init__(self, text: str, status: int = 403, needs_code: bool = False, **values: object) -> None:
        super().__init__(text, **values)
        self.status, self.needs_code = status, needs_code
        self.field = "code" if needs_code else ""


class PasswordNeeded(InvalidInput):
    """A change that needs the password again: over plain HTTP, others can read the cookie of a session."""

    status = 403

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.more = {"confirm": "password"}


class PasswordHashes:
    """Slow hashes. One is computed at a time, to bound memory and CPU time."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher(time_cost=3, memory_cost=32768, parallelism=1)
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0
        self.dummy = _hash_of_nothing(self._hasher)
        """A hash that nothing matches.

        Passwords for unknown names are compared with it, so that they take as long as others.
        """

    async def hash(self, secret: str) -> str:
        """Return the hash of a password or PIN."""
        async with self._turn:
            return await run_in_threadpool(self._hasher.hash, secret)

    async def matches(self, hashed: str, secret: str) -> bool:
        """Return whether a password or PIN has this hash.

        Raises `SignInRefused` if too many others are being compared.
        """
        if self._waiting >= _MAX_PENDING_HASHES:
            raise SignInRefused("Too many people are signing in at the moment. Try again shortly.", 429)
        self._waiting += 1
        try:
            async with self._turn:
                return await run_in_threadpool(self._hasher.verify, hashed, secret)
        except (VerificationError, InvalidHashError):
            return False
        finally:
            self._waiting -= 1


def _hash_of_nothing(hasher: PasswordHasher) -> str:
    """Return a hash with the parameters of `hasher` and a random digest.

    Making one of a password would take its memory and time.
    """
    salt, digest = (
        b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (hasher.salt_len, hasher.hash_len)
    )
    return f"$argon2id$v=19$m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}${salt}${digest}"


@dataclass(slots=True)
class _FailedAttempts:
    failures: int = 0
    next_at: float = 0.0


class SignInDelays:
    """Growing delays after wrong passwords, by device, and an allowance for all devices without a name together.

    `device_at` returns the id of the device at an address, which may have any number of them. `is_unnamed` returns
    whether the policy does not name it: whoever makes up addresses would have any number of such devices.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.device_at: Callable[[str], str | None] = lambda _address: None
        self.is_unnamed: Callable[[str], bool] = lambda _address: False
        self._attempts: dict[str, _FailedAttempts] = {}
        self._unnamed = AttemptLimiter(UNNAMED_TRIES, 3600.0, unnamed=ALL_UNNAMED_TRIES)

    def seconds_to_wait(self, address: str) -> float:
        """Return the seconds until the next attempt from an address, at most 0 if it may come now."""
        attempts = self._attempts.get(self._key(address))
        return attempts.next_at - self._clock() if attempts is not None else 0.0

    def check(self, address: str) -> None:
        """Raise `SignInRefused` during a delay. On a device without a name, a try counts until it was right."""
        wait = self.seconds_to_wait(address)
        if wait > 0:
            raise SignInRefused(
                "Too many wrong tries from this device. Try again in %(seconds)s seconds.",
                429,
                seconds=max(1, round(wait)),
            )
        if self.is_unnamed(address) and not self._unnamed.allows(
            DeviceId(self._key(address)), self._clock(), is_named=False
        ):
            raise SignInRefused("Too many tries on devices without a name. Use a device where you are signed in.", 429)

    def count_failure(self, address: str) -> None:
        """Count a wrong attempt, which may begin a delay."""
        attempts = self._attempts.setdefault(self._key(address), _FailedAttempts())
        attempts.failures += 1
        longest = MAX_LOCAL_DELAY_S if address in {"127.0.0.1", "::1"} else MAX_DELAY_S
        if attempts.failures >= FREE_ATTEMPTS:
            attempts.next_at = self._clock() + pause_after(
                attempts.failures - FREE_ATTEMPTS + 1, first=FIRST_DELAY_S, longest=longest
            )
        if len(self._attempts) > _MAX_TRACKED_SOURCES:
            self._attempts = {key: each for key, each in self._attempts.items() if each.next_at > self._clock()}

    def forget(self, address: str) -> None:
        """Forget the wrong attempts from an address, because the last one was right."""
        self._attempts.pop(self._key(address), None)
        self._unnamed.forget(DeviceId(self._key(address)))

    def _key(self, address: str) -> str:
        return self.device_at(address) or _link_of(address)


def check_password_strength(name: str, password: str) -> None:
    """Raise `InvalidInput` for a weak password. Only its length counts, not its characters (NIST SP 800-63B, 3.1.1)."""
    if len(password) < MIN_PASSWORD_LENGTH:
        raise InvalidInput(
            "A password needs at least %(least)s characters. Four unrelated words make a good one.",
            least=MIN_PASSWORD_LENGTH,
        )
    if len(password) > 500:
        raise InvalidInput("A password can have at most 500 characters.")
    plain = password.lower()
    if (
        len(set(plain)) < 5
        or name.lower() * 2 in plain
        or plain.rstrip("0123456789!.") in {"password", "hedgerow", "qwertyuiop", "letmein"}
    ):
        raise InvalidInput("That password is too easy to guess.")


def _link_of(address: str) -> str:
    """Return the key for delays: the address, or the /64 network of an IPv6 address, which one device may own."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


CODE_ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Letters and digits that nobody confuses: no I, L, O, 0 or 1."""

_CODE_LENGTH = 10


def _make_code() -> str:
    return "".join(secrets.choice(CODE_ALPHABET) for _ in range(_CODE_LENGTH))


@dataclass(slots=True)
class SetupCode:
    """The proof that the person who sets the first password can see the terminal of this machine.

    A code is made at each start, kept in memory only, and worthless once there is an account. Tries are not limited,
    since a limit for all clients would let a stranger lock out the person with the right code: of 31^10 codes, a
    million tries per second for a month find one with a probability of one in 300.

    >>> SetupCode(code="ABCDEFGHJK").accepts("abcde fghjk"), SetupCode(code="ABCDEFGHJK").text
    (True, 'ABCDE-FGHJK')
    """

    code: str = field(default_factory=_make_code, repr=False)

    @property
    def text(self) -> str:
        """The code as it is shown, in two groups."""
        return f"{self.code[: _CODE_LENGTH // 2]}-{self.code[_CODE_LENGTH // 2 :]}"

    def accepts(self, typed: str) -> bool:
        """Compare a code in constant time, in either case and with any spaces and dashes."""
        plain = "".join(typed.split()).replace("-", "").upper()
        return hmac.compare_digest(plain.encode(), self.code.encode())
