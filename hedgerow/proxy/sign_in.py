"""Sign-in to the proxy: a seat or a device identifies itself by name and password (Basic, RFC 7617).

The policy file holds passwords as Argon2id hashes, and no log holds them at all. A check is expensive by design, so
checks run in a thread, one at a time and in bounded number, and a success is cached for a while.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hedgerow.policies.model import Device, DeviceId
from hedgerow.policies.network import ProxySignIn
from hedgerow.proxy.limits import AttemptLimiter
from hedgerow.values import BoundedDict

USER_PREFIX = "user:"
"""Prefix of the name of a client that has signed in, in place of an address."""

_MAX_FIELD = 1024
_CACHE_SECONDS = 3600.0
_MAX_CACHED = 4096
_MAX_ATTEMPTS, _ATTEMPT_SECONDS = 10, 300.0
_MAX_UNNAMED_ATTEMPTS = 500  # right ones too: where unknown devices must sign in, a whole school does at once


@dataclass(frozen=True, slots=True)
class SignInRules:
    """The devices that must sign in, and the Argon2id hash of each user's password."""

    who: ProxySignIn = ProxySignIn.NEVER
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)

    def is_asked(self, device: Device) -> bool:
        """True if this device gets nothing before it has signed in."""
        return self.who is ProxySignIn.ALWAYS or (self.who is ProxySignIn.UNKNOWN and not device.known)


class ProxyAuthenticator:
    """Check of credentials (the values of Proxy-Authorization fields) for one gate."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._known = BoundedDict[bytes, tuple[float, str, str]](_MAX_CACHED)
        self._tries = AttemptLimiter(_MAX_ATTEMPTS, _ATTEMPT_SECONDS, unnamed=_MAX_UNNAMED_ATTEMPTS)
        self._checks: dict[bytes, asyncio.Task[str | None]] = {}
        self._one_at_a_time = asyncio.Semaphore(1)

    def cached_user(self, rules: SignInRules, value: str) -> str | None:
        """The user who signed in with this value not long ago, unless the password has changed since."""
        expires, user, password_hash = self._known.get(self._digest(value), (0.0, "", ""))
        return user if self._clock() < expires and rules.passwords.get(user) == password_hash else None

    def may_try(self, value: str, client: str, *, is_named: bool) -> bool:
        """True if a device, or an address outside the network, may have this value checked, which is then counted."""
        # Ten connections of one browser bring the same value at once.
        return self._digest(value) in self._checks or self._tries.allows(
            DeviceId(client), self._clock(), is_named=is_named
        )

    async def check(self, rules: SignInRules, value: str) -> str | None:
        """The user, or None if name and password do not match."""
        digest = self._digest(value)
        task = self._checks.get(digest)
        if task is None:
            task = self._checks[digest] = asyncio.get_running_loop().create_task(self._check(rules, value))
            task.add_done_callback(lambda _: self._checks.pop(digest, None))
        return await asyncio.shield(task)

    async def _check(self, rules: SignInRules, value: str) -> str | None:
        user, password = parse_basic(value) or ("", "")
        # An unknown name takes as long as a known one, or the time would tell which names exist.
        password_hash = rules.passwords.get(user) or next(iter(rules.passwords.values()), "")
        async with self._one_at_a_time:
            is_right = await asyncio.to_thread(verify_password, password_hash, password)
        if not is_right or user not in rules.passwords:
            return None
        self._known[self._digest(value)] = (self._clock() + _CACHE_SECONDS, user, password_hash)
        return user

    def _digest(self, value: str) -> bytes:
        return hmac.digest(self._key, value.encode("latin-1", "replace"), hashlib.sha256)


def parse_basic(value: str) -> tuple[str, str] | None:
    """The name (in lower case) and password of a field value, or None.

    >>> parse_basic("Basic U2VhdC0xOmMwZGU6eA=="), parse_basic("Bearer x"), parse_basic("Basic ?")
    (('seat-1', 'c0de:x'), None, None)
    """
    scheme, _, credentials = value.strip().partition(" ")
    if scheme.lower() != "basic" or len(value) > _MAX_FIELD:
        return None
    try:
        user, colon, password = base64.b64decode(credentials.strip(), validate=True).decode("utf-8").partition(":")
    except ValueError:  # not ASCII, not base64, or not UTF-8
        return None
    return (user.lower(), password) if colon else None


def verify_password(password_hash: str, password: str) -> bool:
    """True if a password matches an Argon2id hash."""
    # Imported at the first sign-in: most gates never need it.
    import argon2

    try:
        return argon2.PasswordHasher().verify(password_hash, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
