"""Requests to the proxy by clients that know it:

CONNECT, plain HTTP in absolute form, and the auto-configuration file. Pure.
"""

from __future__ import annotations

from hedgerow.blocklists.names import is_address
from hedgerow.policies.model import Verdict
from hedgerow.proxy.client_hello import ClientHello, hides_server_name
from hedgerow.proxy.gate import commands
from hedgerow.proxy.gate.commands import Commands, GateClient
from hedgerow.proxy.gate.lanes import (
    choose_lane,
    http_request,
    inspect,
    refuse,
    refuse_blocked,
    refuse_target,
    tunnel_request,
)
from hedgerow.proxy.gate.rules import GateRules
from hedgerow.proxy.handover import HandoverHeader
from hedgerow.proxy.http_head import (
    Authority,
    HeadError,
    RequestHead,
    RequestTarget,
    forward_head,
    parse_authority,
    parse_target,
)
from hedgerow.proxy.own_pages import PAC_PATHS, relayed_head
from hedgerow.proxy.pages.response import ProxyResponse
from hedgerow.proxy.sign_in import USER_PREFIX

_CHALLENGE = (("Proxy-Authenticate", 'Basic realm="Hedgerow", charset="UTF-8"'),)


def answer_request(rules: GateRules, client: GateClient, head: RequestHead, now: float) -> Commands:
    """Answer the first request of a connection. Raises HeadError."""
    if head.target in PAC_PATHS and head.method in {"GET", "HEAD"}:
        return (commands.ServePac(head.get("host"), head.method == "HEAD"),)
    if (pages := own_pages_request(rules, head)) is not None:
        return (pages,)
    sign_in = rules.policy.sign_in
    credentials = head.get("proxy-authorization") if sign_in.passwords else ""
    user = rules.authenticator.cached_user(sign_in, credentials) if credentials else None
    if user is not None:
        return serve_user(rules, user, head, now)
    must_sign_in = sign_in.is_asked(client.device)
    if must_sign_in and rules.is_helpline(client, _named_host(head)):
        return _open_helpline(rules, client, head, now)
    if credentials:
        _named_host(head)  # a malformed target is refused before a password is checked
        return (commands.CheckPassword(credentials),)
    return (ask_to_sign_in(rules, client, head),) if must_sign_in else _serve(rules, client, head, now)


def own_pages_request(rules: GateRules, head: RequestHead) -> commands.OpenPages | None:
    """The command for a request for our own pages, which every device may reach whatever its rules; None for any other
    request.
    """
    pages = rules.policy.pages
    if pages is None or not head.target.startswith("http://"):
        return None
    target = parse_target(head.target)
    return commands.OpenPages(relayed_head(head, target)) if pages.serves(target.authority) else None


def serve_user(rules: GateRules, user: str, head: RequestHead, now: float) -> Commands:
    """Serve a request for the device that has signed in as `user`, as which the connection counts from now on."""
    client = rules.find_client(USER_PREFIX + user)
    return (commands.Close(),) if client is None else (commands.SwitchClient(client), *_serve(rules, client, head, now))


def ask_to_sign_in(rules: GateRules, client: GateClient, head: RequestHead, cause: str = "") -> commands.Refuse:
    return refuse(rules, client, head, "sign-in", 407, "sign in to this proxy", _CHALLENGE, cause)


def answer_hello(
    rules: GateRules,
    client: GateClient,
    accepted: commands.AcceptConnect,
    hello: ClientHello | None,
    now: float,
    *,
    is_ssh: bool = False,
) -> Commands:
    """Judge the data after a CONNECT. The SNI of a ClientHello may name another host; then both are judged.

    Without a `hello` the client does not speak TLS. If it speaks HTTP, as WebSocket without TLS does, an inspector
    judges each request. SSH (`is_ssh`) passes for devices whose rules close no ways round the filter, as adults' do.
    """
    target, host = accepted.target, accepted.target.host
    if is_ssh and not client.ruleset.rules.bypass and not accepted.helpline_only:
        return choose_lane(rules, client, target, (accepted.request,), now)
    if hello is None:
        decision = rules.decide(client, accepted.request)
        return (commands.Close() if accepted.helpline_only else inspect(client, target, decision.verdict),)
    hides = hides_server_name(hello) and (is_address(host) or host == hello.sni)
    if (
        accepted.helpline_only
        and (hides or hello.sni not in (None, host))
        and not rules.is_helpline(client, hello.sni or "")
    ):
        return (commands.Deny(),)
    requests = [tunnel_request(client, target, host, hides_host=True) if hides else accepted.request]
    if hello.sni is not None and hello.sni != host:
        requests.append(tunnel_request(client, target, hello.sni, hides_host=hides))
    return choose_lane(rules, client, target, tuple(requests), now)


def _serve(rules: GateRules, client: GateClient, head: RequestHead, now: float) -> Commands:
    return (
        _answer_connect(rules, client, head, now)
        if head.method == "CONNECT"
        else _answer_http(rules, client, head, now)
    )


def _answer_connect(
    rules: GateRules, client: GateClient, head: RequestHead, now: float, *, helpline_only: bool = False
) -> Commands:
    target = parse_authority(head.target)
    if refusal := refuse_target(rules, client, target, head):
        return (refusal,)
    request = tunnel_request(client, target, target.host)
    decision = rules.decide(client, request)
    if decision.verdict is Verdict.BLOCK and not client.can_be_inspected:
        return (
            commands.RecordDecision("refuse", client, request, decision),
            commands.Refuse(rules.policy.page.refused_tunnel(decision, request.host, now)),
        )
    if decision.verdict in {Verdict.BLOCK, Verdict.INSPECT}:
        return (inspect(client, target, decision.verdict, awaits_reply=True),)
    return (commands.AcceptConnect(target, request, helpline_only),)


def _answer_http(rules: GateRules, client: GateClient, head: RequestHead, now: float) -> Commands:
    target = parse_target(head.target)
    authority = target.authority
    if refusal := refuse_target(rules, client, authority, head):
        return (refusal,)
    if refusals := refuse_blocked(rules, client, head, http_request(client, authority, target.url, head), now):
        return refusals
    # The inspector judges this request again, as it does all that follow on the connection, and reports it to the
    # journal.
    forwarded = forward_head(head, target.url, authority.as_in_url("http"), target.userinfo)
    return (commands.HandOver(HandoverHeader(client.address, None), "http", Verdict.ALLOW, forwarded),)


def _named_host(head: RequestHead) -> str:
    return (parse_authority(head.target) if head.method == "CONNECT" else parse_target(head.target).authority).host


def _open_helpline(rules: GateRules, client: GateClient, head: RequestHead, now: float) -> Commands:
    """Open a helpline without sign-in, in a tunnel only: a connection of plain HTTP could go on with requests to other
    hosts.
    """
    if head.method == "CONNECT":
        return _answer_connect(rules, client, head, now, helpline_only=True)
    target = parse_target(head.target)
    url = RequestTarget("https", Authority(target.authority.host, 443), target.path).url
    return (commands.Refuse(ProxyResponse(302, (("Location", url), ("Cache-Control", "no-store")), b"")),)


def proxy_authority(host: str, own: Authority) -> Authority:
    """The address by which a client reaches us: the one in its Host field, else `own`, our end of its connection.

    >>> (str(proxy_authority("192.0.2.1:8080", Authority("10.0.0.1", 3128))),
    ...  str(proxy_authority("wpad", Authority("10.0.0.1", 3128))))
    ('192.0.2.1:8080', '10.0.0.1:3128')
    """
    try:
        named = parse_authority(host, own.port)
    except HeadError:
        return own
    return named if is_address(named.host) else own  # a name may mean another machine tomorrow
