"""Pass-through: hosts that are tunnelled to a device for a while, instead of inspected, after it refused our
certificate.

So are hosts that ask for a certificate of the device's own, as schools and electronic identity cards do.

An app that is pinned to its own certificate, or a browser without our CA, would otherwise never reach them. Inspectors
notice refusals and append a line to a small file; gates check the file's identity before they read it again. A blocked
host is never passed through, nor one of which only a part is open: by rules about URLs, blocked searches, tenants, or a
safe search that only inspection enforces. There the connections go on failing, and the journal says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from pathlib import Path

from hedgerow.blocklists.names import parse_host
from hedgerow.policies.content import CLIENT_CERTIFICATE, PASS_THROUGH
from hedgerow.policies.model import Decision, DeviceId, Request, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.values import BoundedDict

PASS_THROUGH_SECONDS = 24 * 3600.0
"""Seconds for which a host is passed through."""

_SILENT_REFUSAL_COUNT = 3
_SILENT_REFUSAL_SECONDS = 60.0
_ACCEPTED_SECONDS = 600.0
_REPORT_AGAIN_SECONDS = 600.0
_ON_THEIR_WAY_SECONDS = 60.0  # for which connections that came before the gates knew may still refuse the certificate
_MAX_FILE_BYTES = 256 * 1024
_MAX_ENTRIES = 4096
_ASKED = "+asked"  # after the time: because the host asks for a certificate of the device's own


class Outcome(Enum):
    """Consequence of a refused certificate."""

    IGNORED = "ignored"
    PASSED = "passed"  # the host is tunnelled to the device from now on
    FAILS = "fails"  # its connections go on failing; reported once in ten minutes


class CertificateRefusals:
    """The inspector's side: counts refusals, and writes the hosts to be passed through into the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._silent = BoundedDict[tuple[DeviceId, str], list[float]](_MAX_ENTRIES)
        self._accepted = BoundedDict[tuple[DeviceId, str], float](_MAX_ENTRIES)
        self._reported = BoundedDict[tuple[DeviceId, str], float](_MAX_ENTRIES)
        self._passed = BoundedDict[tuple[DeviceId, str], float](_MAX_ENTRIES)

    def accepted(self, device: DeviceId, host: str, now: float) -> None:
        """Note that a client accepted our certificate for a host."""
        self._accepted[device, host] = now

    def refused(self, device: DeviceId, host: str, now: float, *, with_alert: bool, may_pass: bool) -> Outcome:
        """Note that a client left when it saw our certificate, with a TLS alert about it or silently.

        Returns the consequence.

        A device that accepted our certificate for the host lately trusts it, whatever one of its programs says. A
        client that leaves silently may just not need the connection, as with browsers, so that counts the third time in
        a minute.
        """
        key = (device, host)
        is_trusting = now - self._accepted.get(key, -_ACCEPTED_SECONDS) < _ACCEPTED_SECONDS
        if not with_alert and (is_trusting or not self._is_third_silent(key, now)):
            return Outcome.IGNORED
        self._silent.pop(key, None)
        return self._pass(key, now) if may_pass and not is_trusting else self._fails(key, now)

    def asked(self, device: DeviceId, host: str, now: float, *, may_pass: bool) -> Outcome:
        """Note that a host asks for a certificate of the device's own, which no inspector can show.

        Returns the consequence.
        """
        key = (device, host)
        return self._pass(key, now, _ASKED) if may_pass else self._fails(key, now)

    def _pass(self, key: tuple[DeviceId, str], now: float, mark: str = "") -> Outcome:
        if abs(now - self._passed.get(key, -_ON_THEIR_WAY_SECONDS)) < _ON_THEIR_WAY_SECONDS:
            return Outcome.IGNORED
        device, host = key
        self._write(f"{now + PASS_THROUGH_SECONDS:.0f}{mark} {host} {device}\n")
        self._passed[key] = now
        return Outcome.PASSED

    def _fails(self, key: tuple[DeviceId, str], now: float) -> Outcome:
        if now - self._reported.get(key, -_REPORT_AGAIN_SECONDS) < _REPORT_AGAIN_SECONDS:
            return Outcome.IGNORED
        self._reported[key] = now
        return Outcome.FAILS

    def _is_third_silent(self, key: tuple[DeviceId, str], now: float) -> bool:
        recent = [each for each in self._silent.get(key, ()) if each > now - _SILENT_REFUSAL_SECONDS]
        self._silent[key] = [*recent, now]
        return len(recent) + 1 >= _SILENT_REFUSAL_COUNT

    def _write(self, line: str) -> None:
        """Append a line in one write, so that the lines of several inspectors do not mix."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        if self._path.exists() and self._path.stat().st_size > _MAX_FILE_BYTES:
            flags |= os.O_TRUNC  # hosts that are lost are noted again at the next refusal
        descriptor = os.open(self._path, flags, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


class PassThrough:
    """The gate's side. Nothing is passed through while the file is missing or cannot be read."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = os.fspath(path)  # text is faster, and the file is checked for every tunnel
        self._clock = clock
        self._identity: tuple[int, int, int] | None = None
        self._until: dict[tuple[str, str], tuple[float, str]] = {}

    def cause(self, device: DeviceId, host: str) -> str:
        """The `what` of a decision to pass `host` through to `device` at this moment, or ''."""
        try:
            status = os.stat(self._path)  # noqa: PTH116  a third of the cost
            identity = (status.st_ino, status.st_mtime_ns, status.st_size)
            if identity != self._identity:
                self._until = dict(map(_parse, Path(self._path).read_text(encoding="utf-8").splitlines()))
                self._identity = identity
        except (OSError, ValueError):
            return ""
        until, cause = self._until.get((device, host), (0.0, ""))
        return cause if until > self._clock() else ""

    def apply(self, ruleset: Ruleset, request: Request, decision: Decision) -> Decision:
        """The decision on a tunnel, with INSPECT turned into ALLOW if its host is passed through."""
        may_pass = decision.verdict is Verdict.INSPECT and may_pass_through(ruleset, decision)
        if may_pass and (cause := self.cause(request.device, request.host)):
            return replace(decision, verdict=Verdict.ALLOW, what=cause)
        return decision


def may_pass_through(ruleset: Ruleset, decision: Decision) -> bool:
    """True if the policy allows a host to be passed through once its certificate was refused."""
    return ruleset.content.passes_through and decision.may_pass_unread


def is_certificate_alert(reason: str | None) -> bool | None:
    """True if OpenSSL's name for a failed handshake means that the client refused our certificate; None if it left
    silently.

    >>> (is_certificate_alert("TLSV1_ALERT_UNKNOWN_CA"), is_certificate_alert("NO_SHARED_CIPHER"),
    ...  is_certificate_alert(None))
    (True, False, None)
    """
    if reason is None:
        return None
    return any(sign in reason for sign in ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN"))


def _parse(line: str) -> tuple[tuple[str, str], tuple[float, str]]:
    until, host, device = line.split(" ", 2)
    if parse_host(host) is None:
        raise ValueError(f"not a host: {host}")
    cause = CLIENT_CERTIFICATE if until.endswith(_ASKED) else PASS_THROUGH
    return (device, host), (float(until.removesuffix(_ASKED)), cause)
