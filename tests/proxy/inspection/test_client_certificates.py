"""Origins that ask for a certificate of the client, as schools and electronic identity cards do."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from proxy_stand import Stand, proxy_stand
from small_internet.authority import server_context
from small_internet.clients import curl
from small_internet.whole import SmallInternet

from hedgerow.policies.content import CLIENT_CERTIFICATE
from hedgerow.policies.model import Verdict

CHILD_WITH_CA = "127.0.0.11"


class _Origin:
    """Answers with the name in the certificate that the client shows, or with `nobody`."""

    def __init__(self, net: SmallInternet, host: str, version: ssl.TLSVersion, *, is_required: bool) -> None:
        context = server_context(net.authority.leaf(host))
        context.minimum_version = context.maximum_version = version
        context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL
        context.load_verify_locations(net.authority.root)
        self._context = context
        self._listener = socket.create_server((net.address_of(host), 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.settimeout(10)
                with contextlib.suppress(OSError), self._context.wrap_socket(client, server_side=True) as secured:
                    while b"\r\n\r\n" in secured.recv(65536):
                        shown = secured.getpeercert() or {}
                        name = str(dict(pair[0] for pair in shown.get("subject", ())).get("commonName", "nobody"))  # type: ignore[misc]
                        secured.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode())

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)


KINDS = {
    # Of host, version and whether the origin insists: each host is passed through only once.
    "scratch.mit.edu": (ssl.TLSVersion.TLSv1_2, False),
    "www.wikipedia.org": (ssl.TLSVersion.TLSv1_2, True),
    "en.wikipedia.org": (ssl.TLSVersion.TLSv1_3, False),
    "www.roblox.com": (ssl.TLSVersion.TLSv1_3, True),
    "files.example": (ssl.TLSVersion.TLSv1_3, False),
    "www.school.example": (ssl.TLSVersion.TLSv1_3, False),
    "h2.example": (ssl.TLSVersion.TLSv1_2, True),
}
"""The child's policy blocks pages of the last two, and nothing is known of the one before."""


@pytest.fixture(scope="module")
def asked(net: SmallInternet, policy: str) -> Iterator[tuple[Stand, dict[str, str]]]:
    """A stand, and the URLs of origins that ask, by host."""
    with contextlib.ExitStack() as stack:
        origins = {
            host: _Origin(net, host, version, is_required=required) for host, (version, required) in KINDS.items()
        }
        for origin in origins.values():
            stack.callback(origin.close)
        ports = "".join(f"{origin.port}, " for origin in origins.values())
        text = policy.replace("  ports: [", f"  ports: [{ports}").replace(
            "    age: 9\n", "    age: 9\n    page_scan: {everywhere: true}\n"
        )
        stand = stack.enter_context(proxy_stand(net, text))
        yield stand, {host: f"https://{host}:{origin.port}/" for host, origin in origins.items()}


@pytest.mark.parametrize(
    ("host", "protocol"), list(zip(KINDS, ["--http1.1", "--http2", "--http2", "--http1.1"], strict=False))
)
def test_a_site_that_asks_is_reached_through_a_tunnel(
    asked: tuple[Stand, dict[str, str]], net: SmallInternet, host: str, protocol: str
) -> None:
    """The first answer explains it, and ends the connection. The device then shows its certificate itself."""
    (stand, urls), mine = asked, net.authority.client_leaf("mia")
    page = ("Accept: text/html", "Sec-Fetch-Dest: document", "Sec-Fetch-Mode: navigate", "Accept-Language: en")
    first = curl(urls[host], proxy=stand.proxy, source=CHILD_WITH_CA, ca=stand.ca, headers=page, options=[protocol])
    assert (first.status, first.headers["refresh"]) == (502, ["1"])
    assert "certificate of your own" in first.text
    reported = stand.wait_for(
        lambda found: any(each.decision and each.decision.what == CLIENT_CERTIFICATE for each in found)
    )
    assert (Verdict.ALLOW, host) in [
        (each.decision.verdict, each.request.host) for each in reported if each.decision and each.request
    ]
    shown = ("--cert", str(mine.certificate), "--key", str(mine.key))
    second = curl(urls[host], proxy=stand.proxy, source=CHILD_WITH_CA, ca=net.authority.root, options=shown)
    assert (second.status, second.text) == (200, "mia")


def test_somebody_must_agree_where_nothing_is_known_of_the_site(asked: tuple[Stand, dict[str, str]]) -> None:
    stand, urls = asked
    stand.reported()
    answer = curl(urls["files.example"], proxy=stand.proxy, source=CHILD_WITH_CA, ca=stand.ca)
    assert answer.status == 200, "it goes on without a certificate"
    told = stand.wait_for(lambda found: any(each.asked for each in found))
    assert [(each.asked.host, each.asked.reason) for each in told if each.asked] == [
        ("files.example", f"default: {CLIENT_CERTIFICATE}")
    ]


def test_where_a_rule_depends_on_urls_the_site_is_asked_without_a_certificate(
    asked: tuple[Stand, dict[str, str]],
) -> None:
    stand, urls = asked
    stand.reported()
    url = urls["www.school.example"]
    for path, status in (("", 200), ("secret", 403), ("", 200)):
        assert curl(url + path, proxy=stand.proxy, source=CHILD_WITH_CA, ca=stand.ca).status == status
    told = [
        each.decision.verdict for each in stand.reported() if each.decision and each.decision.what == CLIENT_CERTIFICATE
    ]
    assert told == [Verdict.INSPECT]


def test_a_site_that_insists_is_explained(asked: tuple[Stand, dict[str, str]]) -> None:
    stand, urls = asked
    for _ in range(2):
        page = ("Sec-Fetch-Dest: document", "Accept: text/html")
        answer = curl(urls["h2.example"], proxy=stand.proxy, source=CHILD_WITH_CA, ca=stand.ca, headers=page)
        assert answer.status == 502
        assert "the rules here do not let this site pass" in answer.text
