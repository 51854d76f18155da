"""Scanning of responses: picks the scanner for a response that the ruleset wants scanned."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from mitmproxy import http

from hedgerow.client_classes import ClassedClient, unnamed_client
from hedgerow.policies.content import ContentRules
from hedgerow.policies.model import Decision
from hedgerow.policies.remembered import TOPICS
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.youtube import is_youtube
from hedgerow.proxy.inspection.clients import EXPLICITLY_ALLOWED, ActiveRequest, ClientRegistry
from hedgerow.proxy.inspection.engine.flows import values_of
from hedgerow.proxy.inspection.engine.http_stream import REFUSAL_KEY, SCANNER_KEY
from hedgerow.proxy.inspection.engine.messages import is_document, is_image
from hedgerow.proxy.inspection.page_reports import PageReports
from hedgerow.proxy.pages.response import ProxyResponse
from hedgerow.proxy.policy import Counters, class_of
from hedgerow.proxy.scanners.launcher import StartProgram, start_child
from hedgerow.proxy.scanners.response_scanner import BodyScanner
from hedgerow.proxy.scanners.scanner import BodyQueue, Head, Scanner, ScanRules, ScoringScanner
from hedgerow.proxy.scanners.topics import PageFinding
from hedgerow.proxy.scanners.words import list_versions, load_phrases
from hedgerow.proxy.scanners.workers import ScanPool
from hedgerow.values import BoundedDict

log = logging.getLogger(__name__)

_BODILESS = frozenset({204, 304})
_MAX_PAGE_RULES = 1024
_HTTP3 = ("h3", "quic")
_READ = (b"content-type", b"content-disposition", b"content-encoding", b"rating", b"pics-label")


class ResponseScanning:
    """The choice of a scanner or a refusal for each response. The engine finds it in the flow."""

    def __init__(
        self, clients: ClientRegistry, counters: Counters, pool: ScanPool, start_program: StartProgram = start_child
    ) -> None:
        self._clients = clients
        self._counters = counters
        self._pool = pool
        self._start_program = start_program
        self._pages = PageReports(clients, counters)
        self._wholes: dict[type[Scanner], BodyQueue] = {}
        self._lists: tuple[tuple[str, int], ...] | None = None
        self._page_rules = BoundedDict[tuple[Ruleset, str], ScanRules](_MAX_PAGE_RULES)

    def swap(self) -> None:
        """Reload the phrase lists before the next page is scanned.

        A queue that is no longer in use still decides on the bodies that it has.
        """
        self._lists = None
        self._page_rules.clear()

    def close(self) -> None:
        """End all processes that scan."""
        self._pool.close()
        for wholes in self._wholes.values():
            wholes.close()

    def scan(self, flow: http.HTTPFlow, active: ActiveRequest, refuse: Callable[[Decision], ProxyResponse]) -> None:
        """Scan the response to a request that was let through.

        `refuse` renders and records the answer to a blocked one.
        """
        rules, response = active.ruleset.content, flow.response
        status = response.status_code if response is not None else 0
        if active.is_explicitly_allowed:  # nothing else is scanned where the policy makes an exception
            rules = ContentRules(youtube_only=rules.youtube_only)
        if response is None or status in _BODILESS or status < 200:
            return
        # what a redirect leads to is judged by itself
        if rules.youtube_only and (active.is_granted or (300 <= status < 400 and response.headers.get("location"))):
            rules = replace(rules, youtube_only=None)
        limits = rules.score_limits
        scoring = [each for each in self._clients.policy.scoring if each.key in limits] if limits else []
        if exempt := {each.key for each in scoring if self._is_exempt(each, active)}:
            rules = replace(rules, scores=tuple(each for each in rules.scores if each.key not in exempt))
        if not (rules.page_limit or rules.files or rules.youtube_only or limits.keys() - exempt):
            return
        head, is_whole = _head_of(flow.request.headers, response.headers, active), status == 200
        for each in scoring if head.is_document else ():
            if each.key not in exempt:
                self._wholes_of(each).start()

        def on_page_scanned(verdict: str, finding: PageFinding | None) -> None:
            self._counters.add("hedgerow_proxy_pages_scanned_total", verdict)
            self._pages.report(finding, active, is_whole=is_whole)

        wholes = {each.kind: self._wholes_of(each) for each in scoring}
        scan_rules = self._scan_rules(rules, active, head)
        scanner = BodyScanner(head, scan_rules, self._pool, refuse, on_page_scanned, wholes, self._client_of(active))
        if (refusal := scanner.declared_refusal) is not None:
            flow.metadata[REFUSAL_KEY] = refusal
        elif not scanner.is_done:
            flow.metadata[SCANNER_KEY] = scanner

    def _wholes_of(self, scoring: ScoringScanner) -> BodyQueue:
        """Return the queue of a scanner."""
        if scoring.kind not in self._wholes:
            count = partial(self._counters.add, scoring.counter)
            self._wholes[scoring.kind] = scoring.queue(count, self._start_program)
        return self._wholes[scoring.kind]

    def _client_of(self, active: ActiveRequest) -> ClassedClient:
        found = self._clients.policy.find_client(active.address)
        return unnamed_client(active.address) if found is None else class_of(active.address, found[0])

    def _scan_rules(self, content: ContentRules, active: ActiveRequest, head: Head) -> ScanRules:
        """Return the rules for a response.

        A page of a well-known or listed host is recognised by its own labels only.
        """
        if not head.kind.may_be_page:
            return ScanRules(content, self._phrase_lists(), scoring=self._kinds())
        if content is not active.ruleset.content or len(active.requests) > 1:
            return self._make_page_rules(content, active)
        key = (active.ruleset, active.requests[0].host)
        known = self._page_rules.get(key)
        if known is None:
            known = self._page_rules[key] = self._make_page_rules(content, active)
        return known

    def _make_page_rules(self, content: ContentRules, active: ActiveRequest) -> ScanRules:
        policy, named = self._clients.policy, active.ruleset.rules.categories
        not_of = policy.corrected_topics(active.requests[0].host)
        topics = tuple(
            topic
            for topic in TOPICS
            if topic not in not_of and (rule := named.get(topic)) is not None and not rule.allow
        )
        is_known = not all(policy.may_be_remembered(each.host) for each in active.requests)
        return ScanRules(content, self._phrase_lists(), topics, is_known, policy.listed, self._kinds())

    def _kinds(self) -> tuple[type[Scanner], ...]:
        return tuple(each.kind for each in self._clients.policy.scoring)

    def _is_exempt(self, scoring: ScoringScanner, active: ActiveRequest) -> bool:
        """Return True if bodies of the site are not scored, nor those of a page that somebody opened by its name."""
        if all(scoring.is_exempt(each.host) for each in active.requests):
            return True
        request = active.requests[-1]
        page = request.initiator
        if not page or page == request.host:
            return False
        if scoring.is_exempt(page):
            return True
        decision = self._clients.policy.decide(
            active.ruleset, replace(request, host=page, url=f"https://{page}/", initiator="")
        )
        return decision.reason in EXPLICITLY_ALLOWED

    def _phrase_lists(self) -> tuple[tuple[str, int], ...]:
        """Return the phrase lists of the policy in force, without those that cannot be read."""
        if self._lists is None:
            try:
                self._lists = list_versions(self._clients.policy.phrase_lists)
                _, problems = load_phrases(self._lists)
            except OSError as error:
                log.error("cannot read the phrase lists: %s. Only the built-in ones are in force", error)
                self._lists = list_versions(())
                _, problems = load_phrases(self._lists)
            if problems:
                log.warning("%d lines of the phrase lists are invalid. The first: %s", len(problems), problems[0])
        return self._lists


def _head_of(asked: http.Headers, fields: http.Headers, active: ActiveRequest) -> Head:
    requests, values = active.requests, values_of(fields)
    url = requests[0].url
    if len(requests) > 1:
        url = next((each.url for each in requests if each.url and is_youtube(each.host)), url)
    kind, disposition, encoding, rating, pics = [
        values[name].decode("utf-8", "surrogateescape") if name in values else "" for name in _READ
    ]
    return Head(url or "", kind, disposition, encoding, is_document(asked), rating, is_image(asked), pics)


def remove_http3(response: http.Response) -> None:
    """Remove HTTP/3 from the alternative services that a response names (RFC 7838): browsers would try UDP, which is
    not inspected.
    """
    if b"alt-svc" in values_of(response.headers):
        kept = [each for value in response.headers.get_all("alt-svc") if (each := without_http3(value))]
        response.headers.set_all("alt-svc", kept)


def without_http3(services: str) -> str:
    """Return the value of an Alt-Svc field without HTTP/3.

    >>> (without_http3('h3=":443"; ma=86400, h3-29=":443", h2="alt.example:443"'), without_http3('h3=":443"'),
    ...  without_http3("clear"))
    ('h2="alt.example:443"', '', 'clear')
    """
    kept = (each.strip() for each in services.split(","))
    return ", ".join(each for each in kept if each and not each.lower().startswith(_HTTP3))
