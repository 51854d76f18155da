"""Decisions that explicit and redirected connections have in common: which lane a request or a ClientHello leads to.

Pure.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from hedgerow.blocklists.names import is_address
from hedgerow.policies.model import Reason, Request, RequestKind, Verdict
from hedgerow.policies.privacy import is_private_search
from hedgerow.proxy.gate import commands
from hedgerow.proxy.gate.commands import Commands, GateClient
from hedgerow.proxy.gate.rules import GateRules
from hedgerow.proxy.handover import HandoverHeader
from hedgerow.proxy.http_head import Authority, RequestHead
from hedgerow.proxy.page_forms import issue_ticket
from hedgerow.proxy.pages.block_page import ASK_PATH
from hedgerow.proxy.pages.response import ResponseForm, response_form
from hedgerow.proxy.policy import ResolvedHost, strictest


def tunnel_request(client: GateClient, target: Authority, host: str, *, hides_host: bool = False) -> Request:
    return Request(device=client.device.id, kind=RequestKind.TUNNEL, host=host, port=target.port, hides_host=hides_host)


def http_request(client: GateClient, target: Authority, url: str, head: RequestHead) -> Request:
    return Request(
        device=client.device.id,
        kind=RequestKind.HTTP,
        host=target.host,
        port=target.port,
        url=url,
        method=head.method,
        resource=head.get("sec-fetch-dest"),
        initiator=head.initiator,
    )


def may_dial(rules: GateRules, target: Authority) -> bool:
    """True if the port is served and the host is not a forbidden address.

    The addresses of a name are checked once it is resolved.
    """
    guard = rules.policy.guard
    return target.port in guard.ports and (not is_address(target.host) or guard.allows(target.host))


def refuse_target(rules: GateRules, client: GateClient, target: Authority, head: RequestHead) -> commands.Refuse | None:
    """The refusal of a target that may not be dialled; None for any other."""
    if may_dial(rules, target):
        return None
    if target.port not in rules.policy.guard.ports:
        return refuse(rules, client, head, "port-closed", 403, f"port {target.port} is not served", cause="port")
    return refuse(
        rules,
        client,
        head,
        "not-reachable",
        403,
        "this address is not reachable through the proxy",
        cause="destination",
    )


def refuse(
    rules: GateRules,
    client: GateClient,
    head: RequestHead,
    page_key: str,
    status: int,
    message: str,
    extra: tuple[tuple[str, str], ...] = (),
    cause: str = "",
) -> commands.Refuse:
    """A refusal with the page of that key if the client opens a page, else with a message for programs."""
    page = rules.policy.page
    if head.method == "CONNECT" or _form(head) is not ResponseForm.PAGE:
        response = page.error(status, message)
    else:
        response = page.short_page(page_key, status, reader=page.reader_of(client.ruleset, head.get("accept-language")))
    return commands.Refuse(replace(response, headers=response.headers + extra), head.method == "HEAD", cause)


def refuse_blocked(rules: GateRules, client: GateClient, head: RequestHead, request: Request, now: float) -> Commands:
    """The refusal of a plain HTTP request if it is blocked; nothing if the inspector is to go on with it."""
    assert request.url is not None
    if urlsplit(request.url).path.startswith(ASK_PATH):
        return ()
    decision = rules.policy.decide(client.ruleset, request)
    if decision.verdict is not Verdict.BLOCK:
        return ()
    if decision.reason is Reason.SEARCH and is_private_search(request):
        return ()  # the inspector shows helplines in place of the results
    page, form = rules.policy.page, _form(head)
    reader = page.reader_of(client.ruleset, head.get("accept-language"))
    ticket = issue_ticket(rules.key, request.host, client.device.id, now) if form is ResponseForm.PAGE else ""
    response = page.blocked(decision, request.host, request.url, now, form, reader, ticket)
    return commands.RecordDecision("refuse", client, request, decision), commands.Refuse(
        response, head.method == "HEAD"
    )


def _form(head: RequestHead) -> ResponseForm:
    return response_form(
        head.get("sec-fetch-dest"), head.get("accept"), head.get("x-requested-with"), head.get("sec-fetch-mode")
    )


def inspect(
    client: GateClient, target: Authority, verdict: Verdict, *, lane: str = "inspect", awaits_reply: bool = False
) -> commands.HandOver:
    return commands.HandOver(HandoverHeader(client.address, target, awaits_reply), lane, verdict)


def choose_lane(
    rules: GateRules,
    client: GateClient,
    target: Authority,
    requests: tuple[Request, ...],
    now: float,
    *,
    shows_page: bool = False,
) -> Commands:
    """Judge every host that a TLS connection names, and go on as the strictest decision demands.

    `shows_page`: an inspector shows the block page if the client trusts our CA.
    """
    judged = [(each, rules.decide(client, each)) for each in requests]
    request, decision = strictest(judged)
    rewritten = [each for each in judged if each[1].target]
    if rewritten and decision.verdict in {Verdict.ALLOW, Verdict.REWRITE}:
        request, decision = rewritten[-1]  # a search engine that any of the names means is replaced by its safe twin
        target = Authority(request.host, target.port)
    match decision.verdict:
        case Verdict.BLOCK if shows_page and client.can_be_inspected:
            return (inspect(client, target, Verdict.BLOCK),)
        case Verdict.BLOCK:
            return commands.RecordDecision("refuse", client, request, decision), commands.Deny()
        case Verdict.INSPECT:
            return (inspect(client, target, Verdict.INSPECT),)
        case Verdict.ALLOW | Verdict.REWRITE:
            allowed = commands.RecordDecision("tunnel", client, request, decision)
            if is_address(target.host):
                return allowed, commands.Dial((target.host,), target.port, requests)
            opening = commands.Resolve(target, requests, rules.unlisted(client, requests, decision))
            known = rules.hosts.known(client.ruleset, target.host, now)
            return (allowed, opening) if known is None else (allowed, *dial_resolved(rules, client, opening, known))


def dial_resolved(rules: GateRules, client: GateClient, opening: commands.Resolve, host: ResolvedHost) -> Commands:
    """Dial the addresses of a host, or refuse the tunnel: its name may be an alias of a blocked one, or lead into the
    local network.
    """
    if host.decision.verdict is Verdict.BLOCK:
        return commands.RecordDecision("refuse", client, opening.requests[0], host.decision), commands.Deny()
    addresses = rules.policy.guard.allowed(host.addresses)
    if host.addresses and not addresses:
        return (commands.Deny("destination"),)
    if not addresses:
        return (commands.Close("dial"),)
    return (commands.Dial(addresses, opening.target.port, opening.requests, opening.unlisted),)
