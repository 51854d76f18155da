"""Requests of Hedgerow itself in a network that reaches the internet through a proxy only."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

import pytest
from forward_proxy import PASSWORD, ForwardProxy
from lab.two_sides import HERE, METADATA, NEIGHBOUR, PUBLIC, Site, TwoSides, answer
from small_internet.authority import Authority, server_context

from hedgerow.blocklists.outgoing import UntrustedError, download_small
from hedgerow.blocklists.outgoing_guard import NoConnectionError, OutgoingGuard, Reach, RefusedError

pytestmark = [pytest.mark.root, pytest.mark.service]

FINE = b"fine.example\n"
INSIDE = "an address inside the network"
FRONT_PORT = 8443


def fetch(sides: TwoSides, url: str, guard: OutgoingGuard | None = None, seconds: float = 10) -> bytes:
    return sides.run(lambda: download_small(url, 1 << 20, seconds, guard or OutgoingGuard()))


def port_of(site: Site) -> int:
    return int(site.server.server_address[1])


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_the_proxy_looks_up_names_of_the_internet(
    sides: TwoSides, authority: Authority, proxy: ForwardProxy, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv(name, proxy.url)
    site = sides.serve(answer(), server_context(authority.leaf("publisher.example")))
    assert fetch(sides, site.url("publisher.example")) == FINE
    assert proxy.asked() == [f"CONNECT publisher.example:{port_of(site)}"]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_requests_without_encryption_go_through_the_proxy(
    sides: TwoSides, proxy: ForwardProxy, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("http_proxy")
    monkeypatch.setenv(name, proxy.url.removeprefix("http://") if name.islower() else proxy.url)
    site = sides.serve(answer())
    for host in ("publisher.example", PUBLIC):
        assert fetch(sides, site.url(host, "/list?a=b")) == FINE
    assert proxy.asked() == [f"GET {site.url(host, '/list?a=b')}" for host in ("publisher.example", PUBLIC)]


def test_redirects_go_through_the_proxy(sides: TwoSides, authority: Authority, proxy: ForwardProxy) -> None:
    last = sides.serve(answer(), server_context(authority.leaf("other.example")))
    first = sides.serve(answer(302, location=last.url("other.example")))
    assert fetch(sides, first.url("publisher.example")) == FINE
    assert fetch(sides, sides.serve(answer(302, location=first.url("publisher.example"))).url(NEIGHBOUR)) == FINE
    assert len(proxy.asked()) == 4


@pytest.mark.parametrize("exceptions", ["publisher.example", "x.example, .EXAMPLE", "*"])
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_some_names_are_asked_without_the_proxy(
    sides: TwoSides, proxy: ForwardProxy, exceptions: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, exceptions)
    site = sides.serve(answer())
    sides.name(publisher_example=PUBLIC)
    assert fetch(sides, site.url("publisher.example")) == FINE
    sides.name(publisher_example=NEIGHBOUR)
    with pytest.raises(RefusedError, match=INSIDE):
        fetch(sides, site.url("publisher.example"))
    assert proxy.asked() == []


def test_servers_inside_are_asked_without_the_proxy(
    sides: TwoSides, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, own = sides.serve(answer()), sides.serve(answer(), at_home=True)
    for host in (NEIGHBOUR, "mirror.lan", "nas"):
        assert fetch(sides, site.url(host)) == FINE
    for host in ("localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.1", HERE, "[::ffff:127.0.0.1]"):
        assert fetch(sides, own.url(host)) == FINE
    guard = OutgoingGuard(local={"ours.example", f"{PUBLIC}/32"})
    for host in ("lists.ours.example", PUBLIC):
        assert fetch(sides, site.url(host), guard) == FINE
    assert proxy.asked() == []


@pytest.mark.parametrize(
    "target",
    [NEIGHBOUR, "mirror.lan", "nas", "127.0.0.1", "127.1", "localhost", "[::ffff:192.168.1.9]", METADATA, "[fd00::1]"],
)
@pytest.mark.parametrize("proxied", [True, False])
def test_the_internet_does_not_redirect_inside_through_the_proxy(
    sides: TwoSides, proxy: ForwardProxy, target: str, proxied: bool
) -> None:
    inside, own = sides.serve(answer()), sides.serve(answer(), at_home=True)
    for each in (inside, own):
        first = sides.serve(answer(302, location=each.url(target, "/admin")))
        guard = OutgoingGuard() if proxied else OutgoingGuard(innermost=Reach.INTERNET)
        with pytest.raises((RefusedError, NoConnectionError)):
            fetch(sides, first.url("publisher.example") if proxied else each.url(target), guard)
        assert each.asked == []
    assert all("publisher.example" in each for each in proxy.asked())


def test_certificates_are_checked_behind_the_proxy(sides: TwoSides, authority: Authority, proxy: ForwardProxy) -> None:
    site = sides.serve(answer(), server_context(authority.leaf("somebody.example")))
    with pytest.raises(UntrustedError, match=r"\(through the proxy http://192\.168\.1\.9:8888\)") as refused:
        fetch(sides, site.url("publisher.example"))
    assert PASSWORD not in str(refused.value)
    assert site.asked == []


def test_the_connection_to_the_proxy_may_be_encrypted(
    sides: TwoSides, authority: Authority, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = authority.leaf("proxy.example")
    front = Path(__file__).parents[1] / "support" / "lab" / "tls_front.py"
    words = [sys.executable, str(front), NEIGHBOUR, str(FRONT_PORT), str(leaf.certificate), str(leaf.key)]
    with sides.program([*words, NEIGHBOUR, proxy.url.rpartition(":")[2]]):
        sides.name(proxy_example=NEIGHBOUR)
        for name in ("http_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"https://office:{PASSWORD}@proxy.example:{FRONT_PORT}")
        plain = sides.serve(answer())
        encrypted = sides.serve(answer(), server_context(authority.leaf("publisher.example")))
        for site in (plain, encrypted):
            assert fetch(sides, site.url("publisher.example")) == FINE
        monkeypatch.setenv("HTTPS_PROXY", f"https://{NEIGHBOUR}:{FRONT_PORT}")
        with pytest.raises(UntrustedError):
            fetch(sides, encrypted.url("publisher.example"))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (f"http://office:another-secret@{NEIGHBOUR}:8888", "it was refused: 401"),
        (f"http://office:another-secret@{NEIGHBOUR}:9", "can't be reached"),
        ("http://office:another-secret@nowhere.lan:8888", "can't be reached"),
        (f"socks5://office:another-secret@{NEIGHBOUR}:1080", "is not one of http:// or https://"),
        (f"ftp://office:another-secret@{NEIGHBOUR}", "is not one of http:// or https://"),
        (f"http://office:another-secret@{NEIGHBOUR}:port", "is not one of http:// or https://"),
        ("http://office:another-secret@", "is not one of http:// or https://"),
        ("office:another-secret@[::1", "is not one of http:// or https://"),
    ],
)
def test_a_proxy_that_does_not_work_is_named_without_its_password(
    sides: TwoSides, proxy: ForwardProxy, address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises((RefusedError, NoConnectionError), match=message) as refused:
        fetch(sides, "https://publisher.example/")
    assert "secret" not in str(refused.value)
    assert proxy.asked() == ["CONNECT publisher.example:443"] * ("401" in message)


def test_a_proxy_that_does_not_answer_is_left_in_time(
    sides: TwoSides, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sides.run(lambda: socket.create_server((NEIGHBOUR, 0)), at_home=False) as listener:
        ended = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while connection.recv(1 << 16):
                    pass
            ended.set()

        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://{NEIGHBOUR}:{listener.getsockname()[1]}")
        with pytest.raises(TimeoutError, match="not finished after"):
            fetch(sides, "https://publisher.example/", seconds=0.5)
        assert ended.wait(10)
