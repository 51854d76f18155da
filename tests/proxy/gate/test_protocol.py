"""The gate's protocol without sockets: events in, commands out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.client_classes import named_client
from hedgerow.policies.model import Decision, Device, DeviceId, Reason, Request, Verdict
from hedgerow.policies.network import ProxySignIn
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Ruleset, Rulesets
from hedgerow.proxy.gate.commands import (
    TRANSITIONS,
    WAITING,
    AcceptConnect,
    AwaitHello,
    AwaitRequest,
    CheckPassword,
    Close,
    Command,
    Commands,
    Deny,
    Dial,
    ExtendDeadline,
    HandOver,
    Join,
    OpenPages,
    RecordDecision,
    Refuse,
    Release,
    Resolve,
    ServePac,
    State,
    SwitchClient,
)
from hedgerow.proxy.gate.protocol import GateProtocol
from hedgerow.proxy.gate.rules import GateRules
from hedgerow.proxy.http_head import Authority
from hedgerow.proxy.own_pages import OwnPages
from hedgerow.proxy.pages.block_page import BlockPage
from hedgerow.proxy.policy import DestinationGuard, ProxyPolicy, ResolvedHost
from hedgerow.proxy.sign_in import ProxyAuthenticator, SignInRules

NOW = 1_790_000_000.0
PAGE = BlockPage("GB")
ORIGIN = Authority("93.184.215.14", 443)
TABLET, LAPTOP = "192.0.2.11", "192.0.2.12"  # the laptop does not trust our CA
MEGABYTE = bytes(1024 * 1024)

DECISIONS = {
    "blocked.example": Decision(Verdict.BLOCK, Reason.CATEGORY, "adult"),
    "inspected.example": Decision(Verdict.INSPECT, Reason.DEFAULT),
    "engine.example": Decision(Verdict.REWRITE, Reason.SAFE_SEARCH, target="safe.engine.example"),
    "help.example": Decision(Verdict.ALLOW, Reason.LIFELINE),
}
ALLOWED = Decision(Verdict.ALLOW, Reason.DEFAULT)
HIDDEN = Decision(Verdict.BLOCK, Reason.BYPASS, "ech")


class Nothing:
    """A catalogue that knows nothing."""

    categories: tuple[str, ...] = ()
    tells_clients = False
    listed = frozenset[str]()


class Bypasses(Nothing):
    """A catalogue that knows of ways round the filter, which are closed for children."""

    categories = ("bypass",)


@dataclass(frozen=True)
class Found:
    addresses: tuple[str, ...]
    decision: Decision = ALLOWED
    failed: bool = False


def decide(_ruleset: Ruleset, request: Request) -> Decision:
    return HIDDEN if request.hides_host else DECISIONS.get(request.host, ALLOWED)


async def resolve(ruleset: Ruleset, device: DeviceId, host: str, *, url_is_allowed: bool = False) -> ResolvedHost:
    raise AssertionError("the protocol does not resolve")


BASE = Rulesets(parse_policy(b"", None), (), (), Nothing()).ruleset(Device(DeviceId("x"), "adult"), NOW)  # type: ignore[arg-type]


@dataclass
class World:
    """The policy in force. Clients are told apart by address, or by the name that they have signed in with."""

    clients: dict[str, tuple[str, bool]] = field(
        default_factory=lambda: {TABLET: ("tablet", True), LAPTOP: ("laptop", False), "user:ana": ("ana-laptop", False)}
    )
    sign_in: SignInRules = field(default_factory=SignInRules)
    pages: OwnPages | None = None

    def policy(self) -> ProxyPolicy:
        def find_client(address: str) -> tuple[Device, Ruleset] | None:
            if address not in self.clients:
                return None
            name, trusts_ca = self.clients[address]
            return Device(DeviceId(name), "adult"), replace(BASE, trusts_ca=trusts_ca)

        return ProxyPolicy(
            find_client,
            decide,
            resolve,
            lambda *_: None,
            lambda _: None,
            DestinationGuard(),
            PAGE,
            sign_in=self.sign_in,
            pages=self.pages,
        )

    def rules(self) -> GateRules:
        return GateRules(self.policy(), b"k" * 32, ProxyAuthenticator(lambda: NOW))


def explicit(world: World | None = None, address: str = LAPTOP) -> GateProtocol:
    return GateProtocol((world or World()).rules(), address)


def redirected(address: str = LAPTOP) -> GateProtocol:
    return GateProtocol(World().rules(), address, ORIGIN)


def hello(name: str = "", *, ech: bool = False) -> bytes:
    def vector(size: int, data: bytes) -> bytes:
        return len(data).to_bytes(size, "big") + data

    extensions = b"\0\0" + vector(2, vector(2, b"\0" + vector(2, name.encode()))) if name else b""
    extensions += b"\xfe\x0d" + vector(2, bytes(20)) if ech else b""
    body = b"\x03\x03" + bytes(32) + b"\0" + vector(2, b"\x13\x01") + b"\x01\0" + vector(2, extensions)
    return b"\x16\x03\x01" + vector(2, b"\x01" + vector(3, body))


def connect(target: str, *fields: str) -> bytes:
    return "\r\n".join([f"CONNECT {target} HTTP/1.1", f"Host: {target}", *fields, "", ""]).encode()


def get(target: str, host: str = "x", *fields: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode()


def types(commands: Commands) -> list[type[Command]]:
    return [type(each) for each in commands]


def check(protocol: GateProtocol, data: bytes, *expected: type[Command]) -> Commands:
    commands = protocol.receive_data(data, NOW)
    assert types(commands) == list(expected)
    return commands


# The explicit proxy.


@pytest.mark.parametrize(
    ("address", "data", "expected", "state"),
    [
        (LAPTOP, connect("news.example:443"), [AcceptConnect], State.TUNNEL_HELLO),
        (
            LAPTOP,
            connect("news.example:443") + hello("news.example"),
            [AcceptConnect, RecordDecision, Resolve],
            State.RESOLVING,
        ),
        (LAPTOP, connect("blocked.example:443"), [RecordDecision, Refuse], State.DISCARDING),
        (TABLET, connect("blocked.example:443"), [HandOver], State.HANDING_OVER),
        (TABLET, connect("inspected.example:443"), [HandOver], State.HANDING_OVER),
        (LAPTOP, connect("news.example:22"), [Refuse], State.DISCARDING),
        (LAPTOP, connect("192.168.1.1:443"), [Refuse], State.DISCARDING),
        (LAPTOP, connect("nowhere"), [Refuse], State.DISCARDING),
        (LAPTOP, get("http://news.example/"), [HandOver], State.HANDING_OVER),
        (LAPTOP, get("http://blocked.example/"), [RecordDecision, Refuse], State.DISCARDING),
        (LAPTOP, get("http://blocked.example/.well-known/hedgerow/ask"), [HandOver], State.HANDING_OVER),
        (LAPTOP, get("/proxy.pac"), [ServePac], State.DISCARDING),
        (LAPTOP, get("/"), [Refuse], State.DISCARDING),
        (LAPTOP, b"\x16\x03\x01", [Refuse], State.DISCARDING),
        (LAPTOP, b"GET http://news.example/", [], State.PROXY_REQUEST),
        ("203.0.113.1", connect("news.example:443"), [Close], State.CLOSED),
    ],
)
def test_a_request_to_the_proxy(address: str, data: bytes, expected: list[type[Command]], state: State) -> None:
    protocol = explicit(address=address)
    assert types(protocol.receive_data(data, NOW)) == expected
    assert protocol.state is state


@pytest.mark.parametrize(
    ("target", "data", "expected", "state"),
    [
        ("news.example:443", hello("news.example"), [RecordDecision, Resolve], State.RESOLVING),
        ("news.example:443", hello(), [RecordDecision, Resolve], State.RESOLVING),
        ("93.184.215.14:443", hello(), [RecordDecision, Dial], State.DIALLING),
        ("news.example:443", hello("blocked.example"), [RecordDecision, Deny], State.DISCARDING),
        ("93.184.215.14:443", hello("blocked.example"), [RecordDecision, Deny], State.DISCARDING),
        ("news.example:443", hello("inspected.example"), [HandOver], State.HANDING_OVER),
        ("news.example:443", hello("news.example", ech=True), [RecordDecision, Resolve], State.RESOLVING),
        ("cloudflare-ech.com:443", hello("cloudflare-ech.com", ech=True), [RecordDecision, Deny], State.DISCARDING),
        ("news.example:443", hello("cloudflare-ech.com", ech=True), [RecordDecision, Resolve], State.RESOLVING),
        ("news.example:443", b"GET / HTTP/1.1\r\n", [HandOver], State.HANDING_OVER),
        ("news.example:443", b"\x16\x03\x01\x00\x00", [Close], State.CLOSED),
        ("news.example:443", hello("news.example")[:-1], [], State.TUNNEL_HELLO),
    ],
)
def test_what_follows_a_connect(target: str, data: bytes, expected: list[type[Command]], state: State) -> None:
    for pieces in ([data], [bytes([byte]) for byte in data]):
        protocol = explicit()
        check(protocol, connect(target), AcceptConnect)
        emitted = [types(protocol.receive_data(piece, NOW)) for piece in pieces if protocol.state not in WAITING]
        assert [kind for each in emitted for kind in each] == expected
        assert protocol.state is state
        if state is not State.HANDING_OVER or len(pieces) == 1:
            assert protocol.pending == data


def test_a_search_engine_behind_any_name_is_replaced_by_its_twin() -> None:
    for target in ("engine.example:443", "news.example:443"):
        protocol = explicit()
        check(protocol, connect(target), AcceptConnect)
        resolve = check(protocol, hello("engine.example"), RecordDecision, Resolve)[-1]
        assert isinstance(resolve, Resolve)
        assert resolve.target == Authority("engine.example", 443)


def test_a_handover_replaces_the_head_and_keeps_what_follows() -> None:
    protocol = explicit()
    request = (
        b"POST http://news.example:80/x HTTP/1.1\r\nHost: y\r\nProxy-Connection: keep-alive\r\nContent-Length:"
        b" 4\r\n\r\n"
    )
    (command,) = check(protocol, request + b"body", HandOver)
    assert isinstance(command, HandOver)
    assert command.head == b"POST http://news.example/x HTTP/1.1\r\nHost: news.example\r\nContent-Length: 4\r\n\r\n"
    assert (protocol.pending, command.header.target) == (b"body", None)


def test_a_redirected_request_is_handed_over_as_it_was_sent() -> None:
    protocol = redirected()
    data = get("/x", "news.example")
    check(protocol, data[:9], AwaitRequest)
    (command,) = check(protocol, data[9:] + b"more", HandOver)
    assert isinstance(command, HandOver)
    assert (command.head, protocol.pending, command.header.target) == (
        b"",
        data + b"more",
        Authority("news.example", 443),
    )


# Redirected connections.


@pytest.mark.parametrize(
    ("address", "data", "expected", "state"),
    [
        (LAPTOP, hello("news.example"), [AwaitHello, RecordDecision, Resolve], State.RESOLVING),
        (LAPTOP, hello(), [AwaitHello, RecordDecision, Dial], State.DIALLING),
        (LAPTOP, hello("blocked.example"), [AwaitHello, RecordDecision, Deny], State.DISCARDING),
        (TABLET, hello("blocked.example"), [AwaitHello, HandOver], State.HANDING_OVER),
        (TABLET, hello("cloudflare-ech.com", ech=True), [AwaitHello, RecordDecision, Deny], State.DISCARDING),
        (LAPTOP, get("/", "news.example"), [AwaitRequest, HandOver], State.HANDING_OVER),
        (LAPTOP, get("/", "blocked.example:443"), [AwaitRequest, RecordDecision, Refuse], State.DISCARDING),
        (LAPTOP, get("/", "192.168.1.1"), [AwaitRequest, Refuse], State.DISCARDING),
        (LAPTOP, get("http://news.example/"), [AwaitRequest, Refuse], State.DISCARDING),
        (LAPTOP, connect("news.example:443"), [AwaitRequest, Refuse], State.DISCARDING),
        (LAPTOP, b"SSH-2.0-x\r\n", [AwaitRequest, Refuse], State.DISCARDING),
        (LAPTOP, b"\x16\x03\x01\x00\x00", [AwaitHello, Close], State.CLOSED),
        (LAPTOP, b"\x16", [], State.DETECTING),
        ("203.0.113.1", hello("news.example"), [AwaitHello, Close], State.CLOSED),
    ],
)
def test_a_redirected_connection(address: str, data: bytes, expected: list[type[Command]], state: State) -> None:
    protocol = redirected(address)
    assert types(protocol.receive_data(data, NOW)) == expected
    assert protocol.state is state


def test_limits_see_the_device_or_who_has_signed_in() -> None:
    protocol = explicit()
    check(protocol, connect("news.example:443"), AcceptConnect)
    assert protocol.client is not None
    assert protocol.client.classed == named_client("laptop")


# What waits for something.


def opening(address: str = LAPTOP) -> GateProtocol:
    protocol = explicit(address=address)
    check(protocol, connect("news.example:443") + hello("news.example"), AcceptConnect, RecordDecision, Resolve)
    return protocol


@pytest.mark.parametrize(
    ("event", "expected", "state"),
    [
        (lambda p: p.resolved(Found(("93.184.215.14",))), [Dial], State.DIALLING),
        (lambda p: p.resolved(Found(())), [Close], State.CLOSED),
        (lambda p: p.resolved(Found(("192.168.1.7",))), [Deny], State.DISCARDING),
        (lambda p: p.resolved(Found((), DECISIONS["blocked.example"])), [RecordDecision, Deny], State.DISCARDING),
        (lambda p: p.give_up("resolve"), [Close], State.CLOSED),
        (lambda p: p.time_out(), [Close], State.CLOSED),
    ],
)
def test_resolving(event: Callable[[GateProtocol], Commands], expected: list[type[Command]], state: State) -> None:
    protocol = opening()
    assert types(event(protocol)) == expected
    assert protocol.state is state


def test_only_addresses_out_of_the_house_are_dialled() -> None:
    protocol = opening()
    (command,) = protocol.resolved(Found(("192.168.1.7", "93.184.215.14", "::1")))
    assert isinstance(command, Dial)
    assert (command.addresses, command.port) == (("93.184.215.14",), 443)


def test_a_tunnel_is_joined_with_what_the_client_has_sent() -> None:
    protocol = opening()
    protocol.resolved(Found(("93.184.215.14",)))
    assert types(protocol.dialled()) == [Join]
    assert (protocol.state, protocol.pending) == (State.TUNNELLED, hello("news.example"))


@pytest.mark.parametrize(("is_blocked", "expected"), [(False, [Join]), (True, [Close])])
def test_a_tunnel_is_judged_again_under_a_new_policy(is_blocked: bool, expected: list[type[Command]]) -> None:
    world = World()
    rules = world.rules()
    protocol = GateProtocol(rules, LAPTOP)
    check(protocol, connect("news.example:443") + hello("news.example"), AcceptConnect, RecordDecision, Resolve)
    rules.swap(replace(world.policy(), decide=lambda *_: DECISIONS["blocked.example"] if is_blocked else ALLOWED))
    protocol.resolved(Found(("93.184.215.14",)))
    assert types(protocol.dialled()) == expected


@pytest.mark.parametrize(
    ("flaw", "is_known", "expected", "state"),
    [
        ("", False, [Join], State.TUNNELLED),
        ("self-signed", False, [RecordDecision, Deny], State.DISCARDING),
        ("fresh", False, [Join], State.TUNNELLED),
        ("self-signed", True, [Join], State.TUNNELLED),
    ],
)
def test_a_server_of_which_nothing_is_known_has_to_prove_itself(
    flaw: str, is_known: bool, expected: list[type[Command]], state: State
) -> None:
    """The decision on its flaw is the policy's."""
    flawed = Decision(Verdict.BLOCK, Reason.RECOGNISED, "self-signed")
    tablet = Device(DeviceId("tablet"), "child-8-12")
    child = tablet, Rulesets(parse_policy(b"", None), (), (), Bypasses()).ruleset(tablet, NOW)  # type: ignore[arg-type]
    policy = replace(
        World().policy(),
        find_client=lambda _: child,
        is_examined=lambda _ruleset, host: host == "news.example" and not is_known,
        decide=lambda _ruleset, request: flawed if request.flaw == "self-signed" else ALLOWED,
    )
    rules = GateRules(policy, b"k" * 32, ProxyAuthenticator(lambda: NOW))
    protocol = GateProtocol(rules, TABLET)
    check(protocol, connect("news.example:443") + hello("news.example"), AcceptConnect, RecordDecision, Resolve)
    protocol.resolved(Found(("93.184.215.14",)))
    commands = protocol.dialled(flaw)
    assert (types(commands), protocol.state) == (expected, state)
    if isinstance(commands[0], RecordDecision):
        request = commands[0].request
        assert (commands[0].decision, request.host, request.flaw) == (flawed, "news.example", flaw)


def test_ssh_after_a_connect_passes_for_adults_only() -> None:
    """The server's name is judged as for TLS. A child's SSH goes to the inspector, which refuses it."""
    tablet = Device(DeviceId("tablet"), "child-8-12")
    child = tablet, Rulesets(parse_policy(b"", None), (), (), Bypasses()).ruleset(tablet, NOW)  # type: ignore[arg-type]
    childs = GateRules(
        replace(World().policy(), find_client=lambda _: child), b"k" * 32, ProxyAuthenticator(lambda: NOW)
    )
    for protocol, expected in ((explicit(), (RecordDecision, Resolve)), (GateProtocol(childs, TABLET), (HandOver,))):
        check(protocol, connect("news.example:443"), AcceptConnect)
        check(protocol, b"SSH-2.0-OpenSSH_9.9\r\n", *expected)
        assert protocol.pending == b"SSH-2.0-OpenSSH_9.9\r\n"
    check(explicit(), connect("blocked.example:443"), RecordDecision, Refuse)


def test_a_server_that_does_not_answer_closes_the_connection() -> None:
    protocol = opening()
    protocol.resolved(Found(("93.184.215.14",)))
    (command,) = protocol.give_up("dial")
    assert isinstance(command, Close)
    assert (command.cause, protocol.state) == ("dial", State.CLOSED)


@pytest.mark.parametrize(
    ("protocol", "data", "expected"),
    [
        (explicit(), get("http://news.example/", "x", "Accept: text/html"), Refuse),
        (explicit(address=TABLET), connect("inspected.example:443"), Refuse),
        (explicit(), connect("news.example:443") + hello("inspected.example"), Close),  # TLS was promised
        (redirected(), get("/", "news.example"), Refuse),
        (redirected(TABLET), hello("blocked.example"), Close),
    ],
)
def test_without_an_inspector(protocol: GateProtocol, data: bytes, expected: type[Command]) -> None:
    protocol.receive_data(data, NOW)
    assert protocol.state is State.HANDING_OVER
    (command,) = protocol.not_handed_over()
    assert type(command) is expected
    assert not isinstance(command, Refuse) or command.response.status == 503


def test_an_inspector_takes_the_connection_over() -> None:
    protocol = explicit()
    check(protocol, get("http://news.example/"), HandOver)
    assert types(protocol.handed_over()) == [Release]
    assert (protocol.state, protocol.receive_data(b"x", NOW)) == (State.INSPECTED, ())


@pytest.mark.parametrize(
    ("protocol", "data", "expected"),
    [
        (explicit(), b"", [Refuse]),
        (explicit(), b"GET ", [Refuse]),
        (explicit(), connect("news.example:443"), [Close]),
        (explicit(), b"nonsense\r\n\r\n", [Close]),  # refused before
        (redirected(), b"", [Close]),
        (redirected(), b"GET ", [Close]),
        (redirected(), b"\x16\x03\x01", [Close]),
    ],
)
def test_time_is_over(protocol: GateProtocol, data: bytes, expected: list[type[Command]]) -> None:
    protocol.receive_data(data, NOW)
    commands = protocol.time_out()
    assert types(commands) == expected
    assert commands[-1].cause == "timeout"  # type: ignore[union-attr]
    assert expected != [Close] or protocol.time_out() == ()


@pytest.mark.parametrize(("data", "megabytes"), [(b"nonsense\r\n\r\n", 1), (get("http://blocked.example/"), 64)])
def test_a_refused_upload_is_discarded_up_to_a_limit(data: bytes, megabytes: int) -> None:
    protocol = explicit()
    protocol.receive_data(data, NOW)
    assert protocol.state is State.DISCARDING
    check(protocol, MEGABYTE[:-1])
    check(protocol, b"x", ExtendDeadline)
    for _ in range(megabytes - 1):
        check(protocol, MEGABYTE, ExtendDeadline)
    check(protocol, b"x", Close)
    assert protocol.pending == b""


# Signing in.

RIGHT = "Proxy-Authorization: Basic YW5hOmEgbG9uZyBwYXNzd29yZA=="
ALWAYS = SignInRules(ProxySignIn.ALWAYS, {"ana": "hash"})
NEVER = SignInRules(ProxySignIn.NEVER, {"ana": "hash"})


@pytest.mark.parametrize(
    ("rules", "data", "expected", "status"),
    [
        (ALWAYS, connect("news.example:443"), [Refuse], 407),
        (ALWAYS, get("http://news.example/"), [Refuse], 407),
        (NEVER, connect("news.example:443"), [AcceptConnect], None),
        (NEVER, connect("news.example:443", RIGHT), [CheckPassword], None),
        (SignInRules(), connect("news.example:443", RIGHT), [AcceptConnect], None),
        (ALWAYS, connect("nowhere", RIGHT), [Refuse], 400),
        (ALWAYS, connect("help.example:443"), [AcceptConnect], None),
        (ALWAYS, get("http://help.example/x"), [Refuse], 302),
        (ALWAYS, get("/proxy.pac"), [ServePac], None),
    ],
)
def test_who_has_to_sign_in(rules: SignInRules, data: bytes, expected: list[type[Command]], status: int | None) -> None:
    commands = explicit(World(sign_in=rules)).receive_data(data, NOW)
    assert types(commands) == expected
    assert (commands[0].response.status if isinstance(commands[0], Refuse) else None) == status


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (lambda p: p.password_checked("ana", NOW), [SwitchClient, AcceptConnect, RecordDecision, Resolve]),
        (lambda p: p.password_checked("gone", NOW), [Close]),
        (lambda p: p.password_checked(None, NOW), [Refuse]),
        (lambda p: p.password_not_checked(), [Refuse]),
        (lambda p: p.time_out(), [Close]),
    ],
)
def test_a_password_is_checked(event: Callable[[GateProtocol], Commands], expected: list[type[Command]]) -> None:
    protocol = explicit(World(sign_in=ALWAYS))
    check(protocol, connect("news.example:443", RIGHT) + hello("news.example"), CheckPassword)
    assert types(event(protocol)) == expected
    if SwitchClient in expected:
        assert protocol.client is not None
        assert (protocol.client.address, protocol.client.device.id) == ("user:ana", "ana-laptop")


@pytest.mark.parametrize(("name", "expected"), [("help.example", Resolve), ("news.example", Deny), ("", Resolve)])
def test_a_tunnel_to_a_helpline_leads_nowhere_else(name: str, expected: type[Command]) -> None:
    protocol = explicit(World(sign_in=ALWAYS))
    check(protocol, connect("help.example:443"), AcceptConnect)
    assert types(protocol.receive_data(hello(name), NOW))[-1] is expected
    other = explicit(World(sign_in=ALWAYS))
    check(other, connect("help.example:443"), AcceptConnect)
    check(other, b"GET / HTTP/1.1\r\n", Close)


# All of it.


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [
                    connect("news.example:443"),
                    hello("news.example"),
                    hello("blocked.example"),
                    get("http://blocked.example/"),
                ]
            ),
            st.sampled_from(["time_out", "resolved", "give_up", "dialled", "not_handed_over", "handed_over"]),
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_no_order_of_events_leads_out_of_the_table(events: list[bytes | str], is_redirected: bool) -> None:
    protocol = redirected(TABLET) if is_redirected else explicit(address=TABLET)
    possible = {
        "resolved": State.RESOLVING,
        "give_up": State.DIALLING,
        "dialled": State.DIALLING,
        "not_handed_over": State.HANDING_OVER,
        "handed_over": State.HANDING_OVER,
    }
    for event in events:
        before = protocol.state
        if isinstance(event, bytes):
            if before in WAITING:
                continue  # it is not read
            commands = protocol.receive_data(event, NOW)
        elif event == "time_out":
            if before in {State.TUNNELLED, State.INSPECTED}:
                continue  # it has no deadline any more
            commands = protocol.time_out()
        elif possible[event] is not before:
            continue
        else:
            commands = {
                "resolved": lambda: protocol.resolved(Found(("93.184.215.14",))),
                "give_up": lambda: protocol.give_up("dial"),
            }.get(event, getattr(protocol, event))()
        followers = {before}
        for command in commands:
            followers = {TRANSITIONS[state].get(type(command), state) for state in followers}
        assert protocol.state in followers


@pytest.mark.parametrize("body", [b"", b"name=mia"])
def test_a_redirected_request_for_the_pages_is_relayed_once(body: bytes) -> None:
    """Its head is relayed in another form.

    As it was sent it would be a second request, after the last of its connection.
    """
    pages = OwnPages("pages.sock", 8053, frozenset({"hedgerow.internal"}), frozenset)
    gate = GateProtocol(World(pages=pages).rules(), LAPTOP, Authority("192.0.2.1", 80))
    head = f"POST /device/name HTTP/1.1\r\nHost: hedgerow.internal\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    opened = gate.receive_data(head + body, NOW)[-1]
    assert isinstance(opened, OpenPages)
    assert b"Connection: close" in opened.head
    assert gate.pending == body
    (joined,) = gate.pages_opened()
    assert isinstance(joined, Join)
    assert gate.client is not None
    assert (joined.ruleset, gate.state) == (gate.client.ruleset, State.TUNNELLED)


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("hedgerow.internal", 80, b"Host: hedgerow.internal\r\n"),
        ("192.0.2.1:8053", 8053, b"Host: 192.0.2.1:8053\r\n"),
        ("[2001:db8::1]", 80, b"Host: [2001:db8::1]\r\n"),
        ("[2001:db8::1]:8053", 8053, b"Host: [2001:db8::1]:8053\r\n"),
    ],
)
def test_a_relayed_request_names_the_host_as_its_client_did(host: str, port: int, expected: bytes) -> None:
    own = frozenset({"192.0.2.1", "2001:db8::1"})
    pages = OwnPages("pages.sock", port, frozenset({"hedgerow.internal"}), lambda: own)
    gate = GateProtocol(World(pages=pages).rules(), LAPTOP)
    opened = gate.receive_data(f"GET http://{host}/device HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), NOW)[-1]
    assert isinstance(opened, OpenPages)
    assert expected in opened.head


def test_a_repeated_connect_is_known_only_if_the_same_would_follow() -> None:
    world, data = World(), connect("inspected.example:443", "User-Agent: a browser")
    known = {
        address: (Device(DeviceId(name), "adult"), replace(BASE, trusts_ca=ca))
        for address, (name, ca) in world.clients.items()
    }
    passed = set[str]()

    def apply_pass_through(_ruleset: Ruleset, request: Request, decision: Decision) -> Decision:
        return ALLOWED if request.host in passed else decision

    policy = replace(world.policy(), find_client=known.get, apply_pass_through=apply_pass_through)
    rules = GateRules(policy, b"k" * 32, ProxyAuthenticator(lambda: NOW))

    def note(data: bytes, address: str = TABLET) -> Commands:
        return GateProtocol(rules, address).receive_data(data, NOW)

    def is_known(data: bytes, address: str = TABLET) -> bool:
        return rules.repeated_connect(address, data) is not None

    for noted in (data, connect("blocked.example:443"), connect("news.example:443")):
        emitted = note(noted)
        again = rules.repeated_connect(TABLET, noted)
        assert again is not None
        assert GateProtocol(rules, TABLET).repeat_connect(again) == emitted
    assert not is_known(data, LAPTOP)
    assert not is_known(data + b"\x16")
    assert not is_known(connect("inspected.example:443"))
    for never, address in (
        (connect("inspected.example:443", "Proxy-Authorization: Basic eDp5"), TABLET),
        (connect("inspected.example:443", "X: " + "x" * 999), TABLET),
        (connect("news.example:443") + hello("news.example"), TABLET),
        (connect("blocked.example:443"), LAPTOP),
        (get("http://news.example/", "news.example"), TABLET),
    ):
        note(never, address)
        assert not is_known(never, address)
    passed.add("inspected.example")
    assert not is_known(data), "its host is passed through now"
    passed.clear()
    assert is_known(data)
    known[TABLET] = (known[TABLET][0], replace(known[TABLET][1]))
    assert not is_known(data), "another ruleset is in force"
    note(data)
    assert is_known(data)
    rules.swap(policy)
    assert not is_known(data)


def test_a_helpline_that_is_open_without_sign_in_is_not_remembered() -> None:
    world = World(sign_in=ALWAYS)
    rules, data = world.rules(), connect("help.example:443")
    assert types(GateProtocol(rules, LAPTOP).receive_data(data, NOW)) == [AcceptConnect]
    assert rules.repeated_connect(LAPTOP, data) is None


def test_the_clienthello_after_a_repeated_connect_is_judged() -> None:
    known = (Device(DeviceId("tablet"), "adult"), BASE)
    policy = replace(World().policy(), find_client=lambda _address: known)
    rules, data = GateRules(policy, b"k" * 32, ProxyAuthenticator(lambda: NOW)), connect("news.example:443")
    GateProtocol(rules, TABLET).receive_data(data, NOW)
    again = rules.repeated_connect(TABLET, data)
    assert again is not None
    for name, expected in (("news.example", [RecordDecision, Resolve]), ("blocked.example", [RecordDecision, Deny])):
        gate = GateProtocol(rules, TABLET)
        assert types(gate.repeat_connect(again)) == [AcceptConnect]
        assert types(gate.receive_data(hello(name), NOW)) == expected
