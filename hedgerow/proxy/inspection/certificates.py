"""Clients that accept or refuse our certificates, and the hosts that are passed through for those that refuse."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from mitmproxy.connection import Client

from hedgerow.policies.content import CERTIFICATE_REFUSED, CLIENT_CERTIFICATE, PASS_THROUGH, UNREAD_APP
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import AccessRequest, Decision, Device, Request, RequestKind, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.inspection.clients import ClientRegistry
from hedgerow.proxy.limits import AttemptLimiter
from hedgerow.proxy.pass_through import CertificateRefusals, Outcome, is_certificate_alert, may_pass_through
from hedgerow.proxy.policy import Counters
from hedgerow.values import BoundedDict
from hedgerow.watched_tasks import note_unexpected

log = logging.getLogger(__name__)

_REQUESTS_PER_HOUR = 10
_NOTED_AGAIN_SECONDS = 1.0
_MAX_NOTED = 1024


class CertificateReactions:
    """The record of clients that accept or refuse our certificates.

    Without `refusals`, a client that refuses them reaches nothing.
    """

    def __init__(
        self,
        clients: ClientRegistry,
        counters: Counters,
        clock: Callable[[], float],
        refusals: CertificateRefusals | None,
    ) -> None:
        self._clients = clients
        self._counters = counters
        self._clock = clock
        self._refusals = refusals
        self._request_limit = AttemptLimiter(_REQUESTS_PER_HOUR, 3600.0)
        # the last notes that certificates were accepted
        self._noted = BoundedDict[tuple[str, str | None, tuple[str, int] | None], float](_MAX_NOTED)

    def accepted(self, client: Client, target: tuple[str, int] | None) -> None:
        """Note that the client sends requests under our certificate. A page opens many connections to one host."""
        key, now = (self._clients.address(client), client.sni, target), self._clock()
        if 0 <= now - self._noted.get(key, 0.0) < _NOTED_AGAIN_SECONDS:
            return
        self._noted[key] = now
        found = self._clients.find(client.id)
        if found is not None:
            self._clients.policy.report_protection(found[0].id, Protection.CERTIFICATE)
        if self._refusals is not None and found is not None and target is not None:
            for host in {target[0], client.sni or target[0]}:
                self._refusals.accepted(found[0].id, host, now)

    def refused(self, client: Client, target: tuple[str, int] | None, reason: str | None) -> None:
        """Note that the client refused our certificate: the CA is not installed there, or the app pins its own
        certificate.

        `reason` is OpenSSL's name of the client's alert, None when it left without one.
        """
        self._counters.add("hedgerow_proxy_dropped_total", "certificate")
        self._noted.clear()
        try:
            with_alert = is_certificate_alert(reason)
            found = self._clients.find(client.id)
            if found is None:
                return
            device, ruleset = found
            if with_alert:
                self._clients.policy.report_protection(device.id, Protection.REFUSED_CERTIFICATE)
            if with_alert is not False and self._refusals is not None and target is not None:
                inspected = self._inspected(device, ruleset, client, target)
                self._pass_through(self._refusals, device, ruleset, inspected, with_alert=bool(with_alert))
        except Exception:
            note_unexpected("cannot record a refused certificate")

    def _pass_through(
        self,
        refusals: CertificateRefusals,
        device: Device,
        ruleset: Ruleset,
        inspected: list[tuple[Request, Decision]],
        *,
        with_alert: bool,
    ) -> None:
        """Pass the connection's hosts through unless a rule depends on their URLs, and report those that fail."""
        policy = self._clients.policy
        for request, decision in inspected:
            passes = may_pass_through(ruleset, decision)
            match refusals.refused(device.id, request.host, self._clock(), with_alert=with_alert, may_pass=passes):
                case Outcome.PASSED:
                    self._counters.add("hedgerow_proxy_passed_through_total")
                    policy.observe(
                        device, ruleset, request, replace(decision, verdict=Verdict.ALLOW, what=PASS_THROUGH)
                    )
                case Outcome.FAILS:
                    is_asked = self._asks(device, ruleset, request, decision, UNREAD_APP)
                    what = UNREAD_APP if is_asked else CERTIFICATE_REFUSED
                    policy.observe(device, ruleset, request, replace(decision, verdict=Verdict.BLOCK, what=what))
                case Outcome.IGNORED:
                    pass
                case other:
                    assert_never(other)

    def asked(self, client: Client, target: tuple[str, int]) -> bool:
        """An origin asks for a certificate of the client.

        Return True if the client reaches it through a tunnel from now on.

        Where a rule depends on URLs, the connection goes on without a certificate, as that of a client that has none.
        """
        found = self._clients.find(client.id)
        if found is None or self._refusals is None:
            return False
        device, ruleset = found
        inspected = self._inspected(device, ruleset, client, target)
        passes = bool(inspected) and all(may_pass_through(ruleset, decision) for _, decision in inspected)
        for request, decision in inspected:
            outcome = self._refusals.asked(device.id, request.host, self._clock(), may_pass=passes)
            if outcome is Outcome.IGNORED:
                continue
            log.info(
                "%s asks for a client certificate, and is %s",
                request.host,
                "passed through" if passes else "inspected without it",
            )
            verdict = Verdict.ALLOW if passes else Verdict.INSPECT
            self._clients.policy.observe(
                device, ruleset, request, replace(decision, verdict=verdict, what=CLIENT_CERTIFICATE)
            )
            if passes:
                self._counters.add("hedgerow_proxy_passed_through_total")
            else:
                self._asks(device, ruleset, request, decision, CLIENT_CERTIFICATE)
        return passes

    def _asks(self, device: Device, ruleset: Ruleset, request: Request, decision: Decision, what: str) -> bool:
        """Ask the people in charge to let a host pass unread, of which nothing is known. Return whether they are asked.

        `what` is the cause. A device may ask for a few hosts per hour, and not for one that was denied lately.
        """
        policy, now = self._clients.policy, self._clock()
        is_asked = (
            decision.needs_consent
            and ruleset.content.passes_through
            and policy.denied_at(device.id, request.host) is None
            and self._request_limit.allows(ruleset.limited_as(device.id), now, is_named=device.known)
        )
        if is_asked:
            reason = f"{decision.reason.value}: {what}"
            policy.request_access(AccessRequest(now, device.id, ruleset.person, request.host, reason=reason))
        return is_asked

    def _inspected(
        self, device: Device, ruleset: Ruleset, client: Client, target: tuple[str, int]
    ) -> list[tuple[Request, Decision]]:
        """The names of a connection that are inspected, each with its decision."""
        requests = [
            Request(device.id, RequestKind.TUNNEL, host, target[1])
            for host in sorted({target[0], client.sni or target[0]})
        ]
        judged = [(each, self._clients.policy.decide(ruleset, each)) for each in requests]
        return [(each, decision) for each, decision in judged if decision.verdict is Verdict.INSPECT]
