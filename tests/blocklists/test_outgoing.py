"""Requests of Hedgerow itself, in a home with a neighbour and an internet: how far inside each of them may lead."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import subprocess
import sys
import threading
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from forward_proxy import ForwardProxy
from joserfc.jwk import KeySet, RSAKey
from lab.two_sides import (
    HERE,
    METADATA,
    NEIGHBOUR,
    OTHER_PUBLIC,
    OUTSIDE_6,
    PUBLIC,
    SILENT,
    Site,
    TwoSides,
    answer,
)
from small_internet.authority import Authority, server_context

from hedgerow.app.control.notices.event_notices import send_in_subprocess
from hedgerow.blocklists.download_store import FetchOutcome
from hedgerow.blocklists.downloader import DownloadLimits, fetch_all
from hedgerow.blocklists.outgoing import download_small, open_url
from hedgerow.blocklists.outgoing_guard import OWN_PORTS, OutgoingGuard, Reach, RefusedError, reach_of
from hedgerow.blocklists.sources import Source
from hedgerow.dashboards.notices import OutgoingMessage
from hedgerow.dashboards.passwords import SignInRefused
from hedgerow.dashboards.push import PushKey, Subscription
from hedgerow.features.dynamic_name.keeper import tell_provider
from hedgerow.features.dynamic_name.settings import DynamicName
from hedgerow.features.log_shipping.event_log import Webhook
from hedgerow.features.log_shipping.settings import parse_log_target
from hedgerow.features.openid.provider import OpenIdSignIn
from hedgerow.features.openid.settings import OpenIdProvider
from hedgerow.features.registration_age.rdap import Question, look_up
from hedgerow.policies.network import NetworkSettings

pytestmark = [pytest.mark.root, pytest.mark.service]

FINE = b"fine.example\n"
INSIDE = "an address inside the network"
REFUSED_INSIDE = (
    "Nothing was sent: the service leads inside this network. Write its address itself or its encrypted form, or put "
    "its name under records or forward."
)


def fetch(sides: TwoSides, url: str, guard: OutgoingGuard | None = None) -> bytes:
    return sides.run(lambda: download_small(url, 1 << 20, 10, guard or OutgoingGuard()))


def refusal(sides: TwoSides, url: str, guard: OutgoingGuard | None = None) -> str:
    with pytest.raises(RefusedError) as refused:
        fetch(sides, url, guard)
    return str(refused.value)


def test_places_are_told_apart(sides: TwoSides) -> None:
    places = {
        Reach.MACHINE: [
            *("127.0.0.1", "127.9.9.9", "::1", HERE, "0.0.0.0", "::"),
            *("::ffff:127.0.0.1", "::ffff:127.0.0.9", "::ffff:0.0.0.0", "2002:7f00:1::", f"::ffff:{HERE}"),
        ],
        Reach.NETWORK: [NEIGHBOUR, "10.0.0.1", "fd00::1", METADATA, "100.64.0.1", "64:ff9b::a00:1", "2002:a00:1::"],
        Reach.INTERNET: [PUBLIC, "2600::1"],
    }
    for reach, addresses in places.items():
        assert {address: sides.run(lambda text=address: reach_of(text)) for address in addresses} == dict.fromkeys(  # type: ignore[misc]
            addresses, reach
        )


def test_a_public_network_of_the_policy_is_inside(sides: TwoSides) -> None:
    settings = NetworkSettings(lan=(ip_network("2003:e1::/32"), ip_network("8.8.8.0/24"), ip_network("192.168.1.0/24")))
    places = {"2003:e1:1:2::9": Reach.NETWORK, PUBLIC: Reach.NETWORK, f"::ffff:{PUBLIC}": Reach.NETWORK}
    for address, reach in {**places, OTHER_PUBLIC: Reach.INTERNET, "2003:e2::1": Reach.INTERNET}.items():
        assert sides.run(lambda: reach_of(address, settings.own_places)) is reach  # noqa: B023
    inside = sides.serve(answer())
    first = sides.serve(answer(302, location=inside.url(PUBLIC, "/admin")))
    assert INSIDE in refusal(sides, first.url(OTHER_PUBLIC), OutgoingGuard(local=settings.own_places))
    assert inside.asked == []


def test_an_admin_names_servers_inside(sides: TwoSides) -> None:
    site, own = sides.serve(answer()), sides.serve(answer(), at_home=True)
    local = dict.fromkeys(("mirror_lan", "mirror_lan_", "nas", "nas_test", "lists_ours_example"), NEIGHBOUR)
    sides.name(**local)
    for host in (NEIGHBOUR, "mirror.lan", "mirror.lan.", "nas", "nas.test"):
        assert fetch(sides, site.url(host)) == FINE
    for host in ("localhost", HERE, "[::ffff:127.0.0.1]"):
        assert fetch(sides, own.url(host)) == FINE
    assert fetch(sides, site.url("lists.ours.example"), OutgoingGuard(local={"ours.example"})) == FINE


def test_a_certificate_proves_that_a_name_is_meant_to_lead_inside(sides: TwoSides, authority: Authority) -> None:
    site = sides.serve(answer(), server_context(authority.leaf("ha.example")))
    sides.name(ha_example=NEIGHBOUR, other_example=NEIGHBOUR)
    assert fetch(sides, site.url("ha.example")) == FINE
    assert "certificate is not trusted" in refusal(sides, site.url("other.example"))
    assert site.asked == [(NEIGHBOUR, "GET", "/")]


@pytest.mark.parametrize("address", [NEIGHBOUR, "127.0.0.1", HERE, "::1", "::ffff:192.168.1.9"])
def test_a_public_name_does_not_turn_inside(sides: TwoSides, address: str) -> None:
    site, own = sides.serve(answer()), sides.serve(answer(), at_home=True)
    sides.name(publisher_example=address)
    for each in (site, own):
        assert "write https:// or the address itself" in refusal(sides, each.url("publisher.example"))
        assert each.asked == []


@pytest.mark.parametrize(
    "target",
    [NEIGHBOUR, "mirror.lan", "127.0.0.1", "localhost", HERE, "[::ffff:192.168.1.9]", METADATA, "[fd00:ec2::254]"],
)
def test_the_internet_does_not_redirect_inside(sides: TwoSides, target: str) -> None:
    inside, own = sides.serve(answer()), sides.serve(answer(), at_home=True)
    sides.name(publisher_example=PUBLIC, mirror_lan=NEIGHBOUR)
    for each in (inside, own):
        first = sides.serve(answer(302, location=each.url(target, "/admin")))
        assert fetch_problem(sides, first.url("publisher.example"))
        assert [address for address, _, _ in first.asked] == [PUBLIC]
        assert each.asked == []


def fetch_problem(sides: TwoSides, url: str) -> bool:
    text = refusal(sides, url)
    return "to which a server outside led" in text or "secrets of machines" in text


def test_redirects_lead_outward_only(sides: TwoSides) -> None:
    last = sides.serve(answer())
    sides.name(publisher_example=PUBLIC, other_example=OTHER_PUBLIC)

    def by_way_of(*hosts: str) -> str:
        url = last.url(hosts[-1])
        for host in reversed(hosts[:-1]):
            url = sides.serve(answer(302, location=url)).url(host)
        return url

    assert fetch(sides, by_way_of("publisher.example", "other.example")) == FINE
    assert fetch(sides, by_way_of(NEIGHBOUR, NEIGHBOUR, "publisher.example")) == FINE
    assert INSIDE in refusal(sides, by_way_of(NEIGHBOUR, "publisher.example", NEIGHBOUR))
    own = sides.serve(answer(), at_home=True)
    assert INSIDE in refusal(sides, sides.serve(answer(302, location=own.url("127.0.0.1"))).url(NEIGHBOUR))
    assert own.asked == []


def test_a_name_that_turns_inside_between_two_requests_is_refused(sides: TwoSides) -> None:
    sides.name(publisher_example=PUBLIC)

    def respond(handler: BaseHTTPRequestHandler) -> None:
        sides.name(publisher_example=NEIGHBOUR)
        answer(302, location="/again")(handler)

    site = sides.serve(respond)
    assert INSIDE in refusal(sides, site.url("publisher.example"))
    assert [address for address, _, _ in site.asked] == [PUBLIC]


def test_secrets_of_clouds_and_hedgerow_itself_are_never_fetched(
    sides: TwoSides, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, own = sides.serve(answer()), sides.serve(answer(), at_home=True)
    sides.name(metadata_internal=METADATA)
    for host in (METADATA, "metadata.internal", f"[::ffff:{METADATA}]"):
        assert "secrets of machines" in refusal(sides, site.url(host))
    monkeypatch.setenv(OWN_PORTS, f"53 {own.server.server_address[1]}")
    for host in ("127.0.0.1", "localhost", HERE, "[::ffff:127.0.0.9]", f"[::ffff:{HERE}]"):
        assert "is Hedgerow itself" in refusal(sides, own.url(host))
    assert (site.asked, own.asked) == ([], [])


def test_a_head_that_trickles_ends_in_time(sides: TwoSides) -> None:
    is_over = threading.Event()

    def respond(handler: BaseHTTPRequestHandler) -> None:
        try:
            while not is_over.wait(0.02):
                handler.wfile.write(b"a")
        except OSError:
            is_over.set()

    site = sides.serve(respond)
    with pytest.raises(TimeoutError, match="not finished after"):
        sides.run(lambda: download_small(site.url(NEIGHBOUR), 1 << 20, 0.5, OutgoingGuard()))
    assert is_over.wait(60), "the connection has ended"


def test_the_other_address_of_a_host_is_tried(sides: TwoSides) -> None:
    site = sides.serve(answer())
    for first, seconds in ((HERE, 10), (SILENT, 6), (f"{SILENT} {OUTSIDE_6}", 6)):
        sides.name(nas_lan=f"{first} {NEIGHBOUR}")
        assert sides.run(lambda: opened_at(site.url("nas.lan"), seconds)) == 200  # noqa: B023


def opened_at(url: str, seconds: float) -> int:
    with open_url(url, seconds, OutgoingGuard()) as response:
        return response.status_code


def test_no_address_is_tried_after_the_deadline(sides: TwoSides) -> None:
    site = sides.serve(answer())
    sides.name(nas_lan=f"{SILENT} {NEIGHBOUR}")
    with pytest.raises(TimeoutError, match="not finished after"):
        sides.run(lambda: opened_at(site.url("nas.lan"), 0.5))
    assert site.asked == []


def test_a_name_with_addresses_on_both_sides_is_asked_again(sides: TwoSides) -> None:
    site = sides.serve(answer())
    site.respond = lambda handler: answer(302 if handler.path == "/" else 200, location="/lists")(handler)
    sides.name(nas_lan=f"{OUTSIDE_6} {NEIGHBOUR}")
    assert fetch(sides, site.url("nas.lan")) == FINE
    assert [path for _, _, path in site.asked] == ["/", "/lists"]
    site.respond = lambda handler: answer(302, location=site.url(NEIGHBOUR, "/admin"))(handler)
    assert INSIDE in refusal(sides, site.url("nas.lan")), "another host is no further inside than the outermost address"


def test_lists_say_why_nothing_was_fetched(sides: TwoSides, tmp_path: Path) -> None:
    site = sides.serve(answer())
    sides.name(publisher_example=NEIGHBOUR)
    source = Source("list", "adult", url=site.url("publisher.example"))
    limits = DownloadLimits(seconds=10, attempts=2, pause=0.01)
    (fetched,) = sides.run(lambda: fetch_all([source], tmp_path, limits))
    assert fetched.problem
    assert INSIDE in fetched.problem.message
    (fetched,) = sides.run(lambda: fetch_all([source], tmp_path, limits, {"publisher.example"}))
    assert fetched.outcome is FetchOutcome.NEW


@pytest.mark.parametrize(
    "location", ["http://xn--0.example/", "http://xn--zzzzzz/", "http://[::1/", "http://%00/", "//:99999/", "x://y"]
)
def test_a_server_that_redirects_to_no_address_fails_alone(sides: TwoSides, tmp_path: Path, location: str) -> None:
    good, bad = sides.serve(answer()), sides.serve(answer(302, location=location))
    sources = [Source(each, "ads", url=site.url(NEIGHBOUR)) for each, site in (("bad", bad), ("good", good))]
    limits = DownloadLimits(seconds=10, attempts=1)
    bad_result, good_result = sides.run(lambda: fetch_all(sources, tmp_path, limits))
    assert (bad_result.outcome, good_result.outcome) == (FetchOutcome.MISSING, FetchOutcome.NEW)


def test_the_host_that_was_written_is_looked_up(sides: TwoSides) -> None:
    """The letter ß is another one than ss (IDNA 2008, RFC 5894, section 7.2)."""
    site = sides.serve(answer())
    sides._hosts.write_text(f"{NEIGHBOUR} xn--fa-hia.lan\n")
    assert fetch(sides, site.url("faß.lan")) == FINE


def test_a_registry_redirects_to_the_internet_only(sides: TwoSides, authority: Authority, tmp_path: Path) -> None:
    context = server_context(authority.leaf("rdap.example", NEIGHBOUR, PUBLIC))
    inside = sides.serve(answer(), context)
    sides.name(rdap_example=PUBLIC)
    first = sides.serve(answer(302, location=inside.url(NEIGHBOUR)), context)
    for host in ("rdap.example", PUBLIC):
        asked = Question("kleine-eisenbahn.net", first.url(host), tmp_path)
        assert INSIDE in sides.run(lambda: look_up(asked)).problem  # noqa: B023
    assert inside.asked == []


OURS = ("ours.example",)


def provider_there(
    issuer: str, authority: Authority, site: Site, others: Mapping[str, str] = {}, *, compresses: bool = False
) -> OpenIdSignIn:
    """Have a site be a provider of sign-in, with other addresses than its own for some endpoints."""
    named = {each: f"{issuer}/{each}" for each in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    documents = {
        "/.well-known/openid-configuration": {"issuer": issuer, **named, **others},
        "/jwks_uri": KeySet([RSAKey.generate_key()]).as_dict(),
    }

    def respond(handler: BaseHTTPRequestHandler) -> None:
        body = json.dumps(documents.get(handler.path, {})).encode()
        (answer(body=gzip.compress(body), content_encoding="gzip") if compresses else answer(body=body))(handler)

    site.respond = respond
    settings = OpenIdProvider(issuer, "hedgerow", {"parent": ("teachers",)}, ca=str(authority.root))
    return OpenIdSignIn(lambda: settings, str, local=lambda: OURS)


async def sign_in_at(provider: OpenIdSignIn) -> None:
    pending = await provider.begin("https://home.example")
    state = pending.cookie.partition(".")[0]
    await provider.finish(pending.cookie, {"state": state, "code": "abc"}, "https://home.example")


REFUSED_SIGN_IN = "can't be used at the moment"


@pytest.mark.parametrize("addresses", [f"{OUTSIDE_6} {NEIGHBOUR}", f"{HERE} {NEIGHBOUR}"])
def test_a_provider_with_several_addresses_is_asked_for_everything(
    sides: TwoSides, authority: Authority, addresses: str
) -> None:
    site = sides.serve(answer(), server_context(authority.leaf("id.example")))
    provider = provider_there(site.url("id.example", ""), authority, site)
    sides.name(id_example=addresses)
    with pytest.raises(SignInRefused, match=REFUSED_SIGN_IN):  # its token says nothing
        sides.run(lambda: asyncio.run(sign_in_at(provider)))
    assert [path for _, _, path in site.asked] == ["/.well-known/openid-configuration", "/jwks_uri", "/token_endpoint"]


def test_each_name_of_a_provider_has_a_certificate_of_its_own(sides: TwoSides, authority: Authority) -> None:
    site = sides.serve(answer(), server_context(authority.leaf("id.example")))
    provider = provider_there(
        site.url("id.example", ""), authority, site, {"jwks_uri": site.url("other.example", "/jwks_uri")}
    )
    respond = site.respond

    def keep(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.close_connection = False
        respond(handler)

    site.respond = keep
    sides.name(id_example=NEIGHBOUR, other_example=NEIGHBOUR)
    with pytest.raises(SignInRefused, match=REFUSED_SIGN_IN):
        sides.run(lambda: asyncio.run(provider.begin("https://home.example")))
    assert [path for _, _, path in site.asked] == ["/.well-known/openid-configuration"]


@pytest.mark.parametrize("endpoint", ["token_endpoint", "jwks_uri"])
def test_a_provider_of_sign_in_leads_nobody_inside(sides: TwoSides, authority: Authority, endpoint: str) -> None:
    context = server_context(authority.leaf("id.example", NEIGHBOUR))
    inside = sides.serve(answer(), context)
    provider = sides.serve(answer(), context)
    sides.name(id_example=PUBLIC)
    others = {endpoint: inside.url(NEIGHBOUR, "/keys")}
    sign_in = provider_there(provider.url("id.example", ""), authority, provider, others)
    with pytest.raises(SignInRefused, match=REFUSED_SIGN_IN):
        sides.run(lambda: asyncio.run(sign_in_at(sign_in)))
    assert inside.asked == []


def test_a_provider_does_not_compress(sides: TwoSides, authority: Authority) -> None:
    site = sides.serve(answer(), server_context(authority.leaf("id.example")))
    provider = provider_there(site.url("id.example", ""), authority, site, compresses=True)
    sides.name(id_example=NEIGHBOUR)
    with pytest.raises(SignInRefused, match=REFUSED_SIGN_IN):
        sides.run(lambda: asyncio.run(provider.begin("https://home.example")))
    assert [path for _, _, path in site.asked] == ["/.well-known/openid-configuration"]


def test_a_provider_of_sign_in_is_asked_through_the_proxy(
    sides: TwoSides, authority: Authority, proxy: ForwardProxy
) -> None:
    context = server_context(authority.leaf("publisher.example", NEIGHBOUR))
    site, inside = sides.serve(answer(), context), sides.serve(answer(), context)
    provider = provider_there(site.url("publisher.example", ""), authority, site)
    with pytest.raises(SignInRefused, match=REFUSED_SIGN_IN):  # its token says nothing
        sides.run(lambda: asyncio.run(sign_in_at(provider)))
    assert [path for _, _, path in site.asked] == ["/.well-known/openid-configuration", "/jwks_uri", "/token_endpoint"]
    assert set(proxy.asked()) == {f"CONNECT publisher.example:{site.server.server_address[1]}"}
    others = {"token_endpoint": inside.url(NEIGHBOUR, "/token")}
    provider = provider_there(site.url("publisher.example", ""), authority, site, others)
    with pytest.raises(SignInRefused, match=REFUSED_SIGN_IN):
        sides.run(lambda: asyncio.run(sign_in_at(provider)))
    assert inside.asked == []


def test_no_proxy_is_asked_for_the_servers_that_the_policy_places_at_home(
    sides: TwoSides, authority: Authority, proxy: ForwardProxy, tmp_path: Path
) -> None:
    """A provider of sign-in, a webhook, and a provider of dynamic DNS, by a name of `records` or `forward`."""
    site = sides.serve(answer(), server_context(authority.leaf("lists.ours.example")))
    sides.name(lists_ours_example=NEIGHBOUR)
    url = site.url("lists.ours.example", "")
    provider = provider_there(url, authority, site)
    with pytest.raises(SignInRefused, match=REFUSED_SIGN_IN):  # its token says nothing
        sides.run(lambda: asyncio.run(sign_in_at(provider)))
    site.respond = answer(body=b"good 203.0.113.7")
    hook = Webhook(parse_log_target(f"{url}/hook"), tmp_path / "key", lambda: OURS)
    sides.run(lambda: hook.write([b"{}"]))
    name = DynamicName("home.example", f"{url}/update?myip={{ipv4}}")
    sides.run(lambda: asyncio.run(tell_provider(name, "", ["203.0.113.7"], OURS)))
    assert [path.partition("?")[0] for _, _, path in site.asked][-3:] == ["/token_endpoint", "/hook", "/update"]
    assert proxy.asked() == []


def test_a_webhook_follows_no_redirect(sides: TwoSides, authority: Authority, tmp_path: Path) -> None:
    context = server_context(authority.leaf("hooks.example", NEIGHBOUR))
    inside = sides.serve(answer(), context)
    sides.name(hooks_example=PUBLIC)
    first = sides.serve(answer(307, location=inside.url(NEIGHBOUR, "/admin")), context)
    hook = Webhook(parse_log_target(first.url("hooks.example")), tmp_path / "key")
    with pytest.raises(OSError, match="answers 307"):
        sides.run(lambda: hook.write([b"{}"]))
    Webhook(parse_log_target(inside.url(NEIGHBOUR)), tmp_path / "key")
    sides.run(lambda: Webhook(parse_log_target(inside.url(NEIGHBOUR)), tmp_path / "key").write([b"{}"]))
    assert inside.asked == [(NEIGHBOUR, "POST", "/")]


def notify(sides: TwoSides, address: str, key: str = "", local: tuple[str, ...] = ()) -> str:
    message = OutgoingMessage(address, "a title", "{}", push_key=key)
    return sides.run(lambda: asyncio.run(send_in_subprocess(message, local=local)))


def test_a_browser_can_name_no_push_service_inside(sides: TwoSides, authority: Authority, tmp_path: Path) -> None:
    hosts = (NEIGHBOUR, "127.0.0.1", HERE, "push.example", "localhost")
    context = server_context(authority.leaf(*hosts))
    away, own = sides.serve(answer(201), context), sides.serve(answer(201), context, at_home=True)
    key = PushKey(tmp_path / "push.pem").private_pem()
    sides.name(push_example=NEIGHBOUR)
    for site in (away, own):
        for host in hosts:
            assert notify(sides, subscription(site.url(host)), key) == REFUSED_INSIDE, host
        assert site.asked == []
    sides.name(push_example=PUBLIC)
    assert notify(sides, subscription(away.url("push.example")), key) == ""
    assert away.asked == [(PUBLIC, "POST", "/")]
    assert notify(sides, subscription(away.url("push.example")), key, ("8.8.8.0/24",)) == REFUSED_INSIDE


def subscription(endpoint: str) -> str:
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    octets = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    p256dh, auth = (urlsafe_b64encode(each).decode().rstrip("=") for each in (octets, b"s" * 16))
    return Subscription(endpoint, p256dh, auth, "mailto:ana@mail.example").address


def service(site: Site, host: str) -> str:
    """The address of a program's own webhook, as apprise has it."""
    return site.url(host).replace("http", "json", 1)


def test_notices_reach_a_service_at_home(sides: TwoSides) -> None:
    site = sides.serve(answer())
    sides.name(ha_lan=NEIGHBOUR, ntfy_ours_example=NEIGHBOUR)
    for host in (NEIGHBOUR, "ha.lan"):
        assert notify(sides, service(site, host)) == ""
    assert notify(sides, service(site, "ntfy.ours.example"), local=("ours.example",)) == ""
    assert len(site.asked) == 3


@pytest.mark.parametrize("server", [NEIGHBOUR, "mail.lan", "mail.ours.example"])
def test_a_mail_goes_through_a_server_at_home(sides: TwoSides, server: str) -> None:
    heard = threading.Event()
    sides.name(mail_lan=NEIGHBOUR, mail_ours_example=NEIGHBOUR)
    with sides.run(lambda: socket.create_server((NEIGHBOUR, 0)), at_home=False) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            heard.set()
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        port = listener.getsockname()[1]
        address = f"mailto://u:p@home.example:{port}/?smtp={server}&mode=insecure"
        assert "could not be reached or did not accept" in notify(sides, address, local=("ours.example",))
    assert heard.is_set()


def test_a_job_connects_to_addresses_and_to_itself(sides: TwoSides) -> None:
    site = sides.serve(answer(), at_home=True)
    port = site.server.server_address[1]
    run = subprocess.run([sys.executable, "-P", "-c", JOB, str(port)], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["pair", *["RefusedError"] * 3]


JOB = """
import socket, sys
from hedgerow.blocklists.outgoing_guard import OutgoingGuard, Reach, RefusedError, guard_connections

guard_connections(OutgoingGuard(Reach.INTERNET), "", is_encrypted=True)
with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
    print("pair")
for family, where in (
    (socket.AF_UNIX, "/run/x"),
    (socket.AF_INET, ("localhost", int(sys.argv[1]))),
    (socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))),
):
    try:
        socket.socket(family).connect(where)
    except RefusedError as error:
        print(type(error).__name__)
"""


@pytest.mark.parametrize("status", [302, 307])
def test_a_service_of_the_internet_leads_no_notice_inside(sides: TwoSides, status: int) -> None:
    inside, own = sides.serve(answer()), sides.serve(answer(), at_home=True)
    sides.name(hooks_example=PUBLIC)
    for target in (inside.url(NEIGHBOUR), own.url("127.0.0.1"), inside.url(METADATA)):
        first = sides.serve(answer(status, location=target))
        assert notify(sides, service(first, "hooks.example")) == REFUSED_INSIDE
        assert len(first.asked) == 1
    assert (inside.asked, own.asked) == ([], [])


def test_a_name_of_the_internet_leads_no_notice_inside(sides: TwoSides) -> None:
    inside = sides.serve(answer())
    sides.name(turned_example=NEIGHBOUR)
    assert notify(sides, service(inside, "turned.example")) == REFUSED_INSIDE
    assert notify(sides, service(inside, METADATA)) == REFUSED_INSIDE
    assert inside.asked == []


def test_notices_go_through_the_proxy(
    sides: TwoSides, authority: Authority, proxy: ForwardProxy, tmp_path: Path
) -> None:
    context = server_context(authority.leaf("publisher.example"))
    encrypted, plain, push = sides.serve(answer(), context), sides.serve(answer()), sides.serve(answer(201), context)
    assert notify(sides, service(plain, "publisher.example")) == ""
    assert notify(sides, encrypted.url("publisher.example").replace("https", "jsons", 1)) == ""
    key = PushKey(tmp_path / "push.pem").private_pem()
    assert notify(sides, subscription(push.url("publisher.example")), key) == ""
    assert [len(each.asked) for each in (encrypted, plain, push)] == [1, 1, 1]
    assert len(proxy.asked()) == 3


def test_notices_to_a_service_at_home_do_not_go_through_the_proxy(sides: TwoSides, proxy: ForwardProxy) -> None:
    site = sides.serve(answer())
    for host in (NEIGHBOUR, "mirror.lan", "nas"):
        assert notify(sides, service(site, host)) == ""
    assert notify(sides, service(site, "lists.ours.example"), local=("ours.example",)) == ""
    assert (len(site.asked), proxy.asked()) == (4, [])


@pytest.mark.parametrize(
    ("host", "exceptions"),
    [
        *((host, "") for host in (NEIGHBOUR, METADATA, "mirror.lan", "127.1", "[::ffff:192.168.1.9]")),
        *((host, f"{NEIGHBOUR},mirror.lan") for host in (NEIGHBOUR, "mirror.lan")),
    ],
)
def test_no_notice_is_led_inside_through_the_proxy(
    sides: TwoSides,
    authority: Authority,
    proxy: ForwardProxy,
    tmp_path: Path,
    host: str,
    exceptions: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", exceptions)
    context = server_context(authority.leaf(NEIGHBOUR, "mirror.lan", "nas"))
    inside, encrypted = sides.serve(answer()), sides.serve(answer(), context)
    for target in (inside.url(host), encrypted.url(host)):
        first = sides.serve(answer(302, location=target))
        assert notify(sides, service(first, "publisher.example")) == REFUSED_INSIDE
        assert len(first.asked) == 1
    key = PushKey(tmp_path / "push.pem").private_pem()
    assert notify(sides, subscription(encrypted.url(host)), key)
    assert (inside.asked, encrypted.asked) == ([], [])
    assert all("publisher.example" in each for each in proxy.asked())


def test_notices_are_not_sent_to_hedgerow_itself(sides: TwoSides, monkeypatch: pytest.MonkeyPatch) -> None:
    own = sides.serve(answer(), at_home=True)
    monkeypatch.setenv(OWN_PORTS, str(own.server.server_address[1]))
    for host in ("127.0.0.1", HERE):
        assert notify(sides, service(own, host)) == REFUSED_INSIDE
    assert own.asked == []
