"""Clients that accept or refuse our certificates, and the hosts that are passed through for those that refuse."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from mitmproxy.connection import Client

from hedgerow.policies.content import CERTIFICATE_REFUSED, PASS_THROUGH
from hedgerow.policies.model import Request, RequestKind, Verdict
from hedgerow.policies.protection import Protection
from hedgerow.proxy.inspection.clients import ClientRegistry
from hedgerow.proxy.pass_through import CertificateRefusals, Outcome, is_certificate_alert, may_pass_through
from hedgerow.proxy.policy import Counters

log = logging.getLogger(__name__)


class CertificateReactions:
    """Records what clients think of our certificates. Without `refusals` a client that refuses them reaches nothing."""

    def __init__(
        self, clients: ClientRegistry, counters: Counters, clock: Callable[[], float], refusals: CertificateRefusals | None
    ) -> None:
        self._clients = clients
        self._counters = counters
        self._clock = clock
        self._refusals = refusals

    def accepted(self, client: Client, target: tuple[str, int] | None) -> None:
        """The client sends requests under our certificate."""
        found = self._clients.find(client.id)
        if found is not None:
            self._clients.policy.report_protection(found[0].id, Protection.CERTIFICATE)
        if self._refusals is not None and found is not None and target is not None:
            for host in {target[0], client.sni or target[0]}:
                self._refusals.accepted(found[0].id, host, self._clock())

    def refused(self, client: Client, target: tuple[str, int] | None, reason: str | None) -> None:
        """The client refused our certificate: the CA is not installed there, or the app pins its own certificate.

        `reason` is OpenSSL's name of the client's alert, None when it left without one.
        """
        self._counters.add("hedgerow_proxy_dropped_total", "certificate")
        try:
            with_alert = is_certificate_alert(reason)
            found = self._clients.find(client.id) if with_alert else None
            if found is not None:
                self._clients.policy.report_protection(found[0].id, Protection.REFUSED_CERTIFICATE)
            if with_alert is not False and self._refusals is not None and target is not None:
                self._pass_through(self._refusals, client, target, with_alert=bool(with_alert))
        except Exception:
            log.exception("cannot record a refused certificate")

    def _pass_through(self, refusals: CertificateRefusals, client: Client, target: tuple[str, int], *, with_alert: bool) -> None:
        """Pass the connection's hosts through unless a rule depends on their URLs, and report those that fail."""
        found = self._clients.find(client.id)
        if found is None:
            return
        device, ruleset = found
        policy = self._clients.policy
        requests = [Request(device.id, RequestKind.TUNNEL, host, target[1]) for host in sorted({target[0], client.sni or target[0]})]
        judged = [(each, policy.decide(ruleset, each)) for each in requests]
        for request, decision in judged:
            if decision.verdict is not Verdict.INSPECT:
                continue
            passes = may_pass_through(ruleset, decision)
            match refusals.refused(device.id, request.host, self._clock(), with_alert=with_alert, may_pass=passes):
                case Outcome.PASSED:
                    self._counters.add("hedgerow_proxy_passed_through_total")
                    policy.observe(device, ruleset, request, replace(decision, verdict=Verdict.ALLOW, what=PASS_THROUGH))
                case Outcome.FAILS:
                    policy.observe(device, ruleset, request, replace(decision, verdict=Verdict.BLOCK, what=CERTIFICATE_REFUSED))
                case Outcome.IGNORED:
                    pass
                case other:
                    assert_never(other)
