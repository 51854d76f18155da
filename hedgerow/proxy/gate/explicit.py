"""A connection of a client that knows it speaks to a proxy: a request in absolute form, or CONNECT.

Two paths of our own are answered too: the file by which browsers configure themselves.
"""

from __future__ import annotations

from hedgerow.blocklists.names import is_address
from hedgerow.policies.model import Decision, Reason, Request, RequestKind, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.client_hello import ClientHello, hides_server_name
from hedgerow.proxy.gate.connection import GateConnection
from hedgerow.proxy.gate.context import GateContext
from hedgerow.proxy.handover import HandoverHeader
from hedgerow.proxy.http_head import (
    CONNECTION_ESTABLISHED,
    Authority,
    HeadError,
    RequestHead,
    RequestTarget,
    forward_head,
    parse_authority,
    parse_target,
)
from hedgerow.proxy.pac import PAC_PATHS, pac_response
from hedgerow.proxy.page_forms import host_of_url
from hedgerow.proxy.pages.response import ProxyResponse
from hedgerow.proxy.policy import ProxyPolicy
from hedgerow.proxy.sign_in import USER_PREFIX


class ExplicitConnection(GateConnection):
    """Its states: a head, and after a CONNECT that is allowed, a ClientHello."""

    __slots__ = ("_connected", "_helpline_only")

    def __init__(self, gate: GateContext) -> None:
        super().__init__(gate)
        self._receive = self._read_head
        self._connected: tuple[ProxyPolicy, Ruleset, Request, Decision]
        self._helpline_only = False  # nobody has signed in, and a helpline was asked for

    def _on_head(self, head: RequestHead) -> None:
        if head.target in PAC_PATHS and head.method in {"GET", "HEAD"}:
            self._refuse(pac_response(self._own_authority(head)), head_only=head.method == "HEAD")
        elif self._has_signed_in(head):
            self._serve(head)

    def _serve(self, head: RequestHead) -> None:
        if head.method == "CONNECT":
            self._connect(head)
        else:
            self._request(head)

    # Signing in.

    def _has_signed_in(self, head: RequestHead) -> bool:
        """Whether this client may be served now. If not it is refused, or served after its password was checked."""
        gate, rules = self._gate, self._gate.policy.sign_in
        value = head.get("proxy-authorization") if rules.passwords else ""
        user = gate.sign_ins.cached_user(rules, value) if value else None
        if user is not None:
            return self._sign_in_as(user)
        is_asked = rules.is_asked(self._device)
        if is_asked and self._targets_helpline(head):
            self._open_helpline(head)
            return False
        if not value:
            if is_asked:
                self._ask_to_sign_in()
            return not is_asked
        if gate.sign_ins.may_try(value, self.address):
            self._start(self._check_password(head, value))
        else:
            gate.drop("sign-in")
            self._refuse_request("sign-in-later", 429, "too many tries; wait five minutes")
        return False

    async def _check_password(self, head: RequestHead, value: str) -> None:
        user = await self._gate.sign_ins.check(self._gate.policy.sign_in, value)
        if self._is_gone or self._transport.is_closing():
            return
        self._transport.resume_reading()
        self._reader.rest += self._first
        self._first = b""
        if user is None:
            self._gate.drop("sign-in")
            self._ask_to_sign_in()
        elif self._sign_in_as(user):
            self._serve(head)

    def _sign_in_as(self, user: str) -> bool:
        """From now on this connection is that of the device that signs in as `user`."""
        self.address = USER_PREFIX + user
        if not self._look_up():
            return False
        if not self._gate.signed_in(self, self._device.id):
            self.abort()
            return False
        return True

    def _ask_to_sign_in(self) -> None:
        self._refuse_request("sign-in", 407, "sign in to this proxy", (("Proxy-Authenticate", 'Basic realm="Hedgerow", charset="UTF-8"'),))

    # Helplines, which nobody has to sign in for.

    def _targets_helpline(self, head: RequestHead) -> bool:
        named = parse_authority(head.target) if head.method == "CONNECT" else parse_target(head.target).authority
        return self._is_helpline(named.host)

    def _is_helpline(self, host: str) -> bool:
        request = Request(device=self.device, kind=RequestKind.TUNNEL, host=host)
        return self._gate.decide(self._ruleset, request).reason is Reason.LIFELINE

    def _open_helpline(self, head: RequestHead) -> None:
        """In a tunnel, which leads nowhere else; on a connection of plain HTTP requests to other hosts may follow."""
        if head.method == "CONNECT":
            self._helpline_only = True
            self._connect(head)
        else:
            target = parse_target(head.target)
            url = RequestTarget("https", Authority(target.authority.host, 443), target.path).url
            self._refuse(ProxyResponse(302, (("Location", url), ("Cache-Control", "no-store")), b""))

    # Plain HTTP.

    def _request(self, head: RequestHead) -> None:
        gate = self._gate
        target = parse_target(head.target)
        request = Request(
            device=self.device, kind=RequestKind.HTTP, host=target.authority.host, port=target.authority.port, url=target.url,
            method=head.method, resource=head.get("sec-fetch-dest"), initiator=initiator(head),
        )  # fmt: skip
        if not self._may_reach(target.authority) or self._is_refused(head, request):
            return
        # The inspector judges this request again, as it does all that follow on the connection, and observes it.
        gate.counters.add("hedgerow_proxy_connections_total", "http", "allow")
        host = str(target.authority) if target.authority.port != 80 else str(target.authority).removesuffix(":80")
        self._first = self._reader.rest
        self._send_to_inspector(HandoverHeader(self.address, None), forward_head(head, target.url, host))

    # CONNECT.

    def _connect(self, head: RequestHead) -> None:
        self._target = parse_authority(head.target)
        if not self._may_reach(self._target):
            return
        request = self._tunnel_request(self._target.host)
        decision = self._gate.decide(self._ruleset, request)
        self._first = self._reader.rest
        if decision.verdict is Verdict.BLOCK and not self._can_inspect():
            self._record("refuse", request, decision)
            self._refuse(self._gate.policy.page.refused_tunnel(decision, request.host, self._gate.clock()))
        elif decision.verdict in {Verdict.BLOCK, Verdict.INSPECT}:
            self._inspect(decision.verdict, awaits_reply=True)
        else:
            self._connected = (self._gate.policy, self._ruleset, request, decision)
            self._transport.write(CONNECTION_ESTABLISHED)
            self._receive = self._read_hello
            self._gate.start_read_deadline(self)
            first, self._first = self._first, b""
            if first:
                self._read_hello(first)

    def _on_hello(self, hello: ClientHello) -> None:
        """The name inside may differ from the name outside: then each is judged."""
        host, (policy, ruleset, request, decision) = self._target.host, self._connected
        hides = hides_server_name(hello) and (is_address(host) or host == hello.sni)
        if not hides and hello.sni in (None, host):
            is_current = policy is self._gate.policy and ruleset is self._ruleset
            self._choose_lane((request,), decision if is_current else None)
            return
        if self._helpline_only and not self._is_helpline(hello.sni or ""):
            self._refuse_tls()
            return
        requests = [self._tunnel_request(host, hides_host=hides)]
        if hello.sni is not None and hello.sni != host:
            requests.append(self._tunnel_request(hello.sni, hides_host=hides))
        self._choose_lane(tuple(requests))

    def _on_non_tls(self) -> None:
        """What is no TLS can be read: if it is HTTP (as WebSocket without TLS is), every request of it is judged by its URL."""
        if self._helpline_only:
            self.abort()
        elif self._look_up():
            request = self._tunnel_request(self._target.host)
            self._inspect(self._gate.decide(self._ruleset, request).verdict)

    def _own_authority(self, head: RequestHead) -> Authority:
        """Where this client reaches us: the address that it has used, or else the one on which the connection came."""
        host, port = self._transport.get_extra_info("sockname")[:2]
        try:
            named = parse_authority(head.get("host"), port)
        except HeadError:
            named = None
        return named if named is not None and is_address(named.host) else Authority(host.partition("%")[0], port)


def initiator(head: RequestHead) -> str:
    """The host of the page that asks, or an empty text."""
    return host_of_url(head.get("referer") or head.get("origin"))
