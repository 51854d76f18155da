"""Connections that the network redirected here (nftables `redirect` or `tproxy`), from clients that know of no proxy.

Pure.

The host that the client names (SNI, Host) is judged, resolved by our own resolver and dialled. The address that the
client dialled counts only if it names no host.
"""

from __future__ import annotations

from hedgerow.policies.model import Verdict
from hedgerow.proxy.client_hello import ClientHello, hides_server_name
from hedgerow.proxy.gate import commands
from hedgerow.proxy.gate.commands import Commands, GateClient
from hedgerow.proxy.gate.lanes import (
    choose_lane,
    http_request,
    inspect,
    may_dial,
    refuse_blocked,
    refuse_target,
    tunnel_request,
)
from hedgerow.proxy.gate.rules import GateRules
from hedgerow.proxy.http_head import Authority, HeadError, RequestHead, RequestTarget, parse_authority
from hedgerow.proxy.own_pages import relayed_head


def answer_hello(
    rules: GateRules, client: GateClient, destination: Authority, hello: ClientHello, now: float
) -> Commands:
    """Judge the ClientHello of a connection to `destination`."""
    target = destination if hello.sni is None else Authority(hello.sni, destination.port)
    if not may_dial(rules, target):
        return (commands.Deny("destination"),)
    hides = hides_server_name(hello)
    return choose_lane(
        rules,
        client,
        target,
        (tunnel_request(client, target, target.host, hides_host=hides),),
        now,
        shows_page=not hides,
    )


def answer_request(
    rules: GateRules, client: GateClient, destination: Authority, head: RequestHead, now: float
) -> Commands:
    """Judge the first HTTP request of a connection to `destination`. Raises HeadError."""
    if head.method == "CONNECT" or not head.target.startswith("/"):
        raise HeadError(400, "a request to a web server names a path")
    target = parse_authority(head.get("host"), destination.port) if head.get("host") else destination
    pages = rules.policy.pages
    if pages is not None and pages.serves(target):
        return (commands.OpenPages(relayed_head(head, RequestTarget("http", target, head.target))),)
    if refusal := refuse_target(rules, client, target, head):
        return (refusal,)
    request = http_request(client, target, RequestTarget("http", target, head.target).url, head)
    return refuse_blocked(rules, client, head, request, now) or (inspect(client, target, Verdict.ALLOW, lane="http"),)
