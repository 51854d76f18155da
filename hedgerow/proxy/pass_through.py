"""Hosts whose certificate of ours a device refused, and which are tunnelled to it for a while instead of being inspected.

An app that is pinned to its own certificate, or a browser without our CA, would otherwise never get there. Inspectors notice and
append a line to one small file; gates look at the file's identity before they read it again. Nothing is passed through that is
blocked, nor a host of which only part is open: one with rules about URLs, blocked searches, tenants, or a safe search that only
inspection enforces. There the connection fails, and the journal says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

from hedgerow.blocklists.names import parse_host
from hedgerow.policies.content import PASS_THROUGH
from hedgerow.policies.model import Decision, DeviceId, Request, Verdict
from hedgerow.policies.ruleset import Ruleset

PASS_THROUGH_SECONDS = 24 * 3600.0
"""Seconds for which a host is passed through to the device that refused."""

_SILENT_REFUSAL_COUNT = 3
_SILENT_REFUSAL_SECONDS = 60.0
_ACCEPTED_SECONDS = 600.0
_TOLD_AGAIN = 600.0
_MAX_FILE_BYTES = 256 * 1024
_MAX_ENTRIES = 4096


class Outcome(Enum):
    """What a refusal of our certificate leads to."""

    IGNORED = "ignored"
    PASSED = "passed"  # the host is tunnelled to the device from now on
    FAILS = "fails"  # its connections go on failing; said once in a while only


class CertificateRefusals:
    """The inspector's side: counts refusals and writes down what is to be passed through."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._silent: dict[tuple[DeviceId, str], list[float]] = {}
        self._accepted: dict[tuple[DeviceId, str], float] = {}
        self._told: dict[tuple[DeviceId, str], float] = {}

    def accepted(self, device: DeviceId, host: str, now: float) -> None:
        """A client went on under our certificate."""
        _make_room(self._accepted)
        self._accepted[device, host] = now

    def refused(self, device: DeviceId, host: str, now: float, *, with_alert: bool, may_pass: bool) -> Outcome:
        """Note that a client left on seeing our certificate, with a TLS alert about it or without a word; return what came of it.

        A device that has accepted our certificate for the host lately trusts it, whatever one of its programs says. Without a word a
        client may have changed its mind (browsers open connections that they then do not need): that counts the third time in a minute.
        """
        key, is_trusting = (device, host), now - self._accepted.get((device, host), -_ACCEPTED_SECONDS) < _ACCEPTED_SECONDS
        if not with_alert and (is_trusting or not self._is_third_silent(key, now)):
            return Outcome.IGNORED
        self._silent.pop(key, None)
        if may_pass and not is_trusting:
            self._write(f"{now + PASS_THROUGH_SECONDS:.0f} {host} {device}\n")
            return Outcome.PASSED
        if now - self._told.get(key, -_TOLD_AGAIN) < _TOLD_AGAIN:
            return Outcome.IGNORED
        _make_room(self._told)
        self._told[key] = now
        return Outcome.FAILS

    def _is_third_silent(self, key: tuple[DeviceId, str], now: float) -> bool:
        _make_room(self._silent)
        recent = [each for each in self._silent.get(key, ()) if each > now - _SILENT_REFUSAL_SECONDS]
        self._silent[key] = [*recent, now]
        return len(recent) + 1 >= _SILENT_REFUSAL_COUNT

    def _write(self, line: str) -> None:
        """One write of a short line to a file opened for appending: lines of several inspectors do not mix."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        if self._path.exists() and self._path.stat().st_size > _MAX_FILE_BYTES:
            flags |= os.O_TRUNC  # forgotten hosts are noticed anew at the next refusal
        descriptor = os.open(self._path, flags, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


class PassThrough:
    """The gate's side: what is passed through now. A file that is not there or cannot be read passes nothing through."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = os.fspath(path)  # as text, for it is looked at for every tunnel
        self._clock = clock
        self._identity: tuple[int, int, int] | None = None
        self._until: dict[tuple[str, str], float] = {}

    def holds(self, device: DeviceId, host: str) -> bool:
        """Whether `host` is passed through to `device` at this moment."""
        try:
            status = os.stat(self._path)  # noqa: PTH116  a third of the cost
            identity = (status.st_ino, status.st_mtime_ns, status.st_size)
            if identity != self._identity:
                self._until = dict(map(_parse, Path(self._path).read_text(encoding="utf-8").splitlines()))
                self._identity = identity
        except (OSError, ValueError):
            return False
        return self._until.get((device, host), 0.0) > self._clock()

    def apply(self, ruleset: Ruleset, request: Request, decision: Decision) -> Decision:
        """What was decided on a tunnel, but that one which would be inspected is let through where its host is passed through."""
        if (
            decision.verdict is not Verdict.INSPECT
            or not may_pass_through(ruleset, decision)
            or not self.holds(request.device, request.host)
        ):
            return decision
        return replace(decision, verdict=Verdict.ALLOW, what=PASS_THROUGH)


def may_pass_through(ruleset: Ruleset, decision: Decision) -> bool:
    """Whether the policy lets a refused host be passed through."""
    return ruleset.content.passes_through and decision.may_pass_unread


def _make_room(remembered: dict[tuple[DeviceId, str], Any]) -> None:
    if len(remembered) >= _MAX_ENTRIES:
        remembered.clear()


def is_certificate_alert(reason: str | None) -> bool | None:
    """Whether OpenSSL's name for a failed handshake says that the client refused our certificate; None: it left without a word.

    >>> is_certificate_alert("TLSV1_ALERT_UNKNOWN_CA"), is_certificate_alert("NO_SHARED_CIPHER"), is_certificate_alert(None)
    (True, False, None)
    """
    if reason is None:
        return None
    return any(sign in reason for sign in ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN"))


def _parse(line: str) -> tuple[tuple[str, str], float]:
    until, host, device = line.split(" ", 2)
    if parse_host(host) is None:
        raise ValueError(f"not a host: {host}")
    return (device, host), float(until)
