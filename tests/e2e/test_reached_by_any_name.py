"""The pages for devices at each address and name of the machine, with correct links."""

from __future__ import annotations

import html
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_internet.clients import HttpAnswer, curl
from small_internet.running import Hedgerow, parse_address, running_hedgerow

from hedgerow.proxy.certificate_authority import ensure_ca, issue_server_certificate, load_ca

SERVER_NAME = "hedgerow.home.example"
MACHINE = (socket.gethostname() or "localhost").partition(".")[0].lower()
PLACES = ("127.0.0.1", "::1", "localhost", MACHINE, f"{MACHINE}.local", SERVER_NAME)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of an authority that every device trusts, for the policy's own name."""
    folder = tmp_path_factory.mktemp("public")
    ensure_ca(folder)
    authority = load_ca(folder)
    key, end, chain = issue_server_certificate(authority, [SERVER_NAME], []).partition(b"-----END PRIVATE KEY-----\n")
    for name, content in (("key.pem", key + end), ("chain.pem", chain), ("ca.pem", authority.pem)):
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def everywhere(public: Path) -> Iterator[Hedgerow]:
    policy = f"""
network:
  timezone: UTC
  lists: starter
  lan: [127.0.0.0/8, "::1/128"]
  server_name: {SERVER_NAME}
  certificate: {{chain: {public}/chain.pem, key: {public}/key.pem}}
"""
    with running_hedgerow(policy, web="0.0.0.0:0") as running:
        yield running


def fetch(running: Hedgerow, place: str, path: str) -> HttpAnswer:
    port = parse_address(running.web.removeprefix("http://"))[1]
    shown = f"[{place}]" if ":" in place else place
    at = [] if ":" in place or place[0].isdigit() else [f"{place}:{port}:127.0.0.1"]
    return curl(f"http://{shown}:{port}{path}", resolve=at)


@pytest.mark.parametrize("place", PLACES)
def test_the_certificate_page_is_reached_by_any_name(everywhere: Hedgerow, public: Path, place: str) -> None:
    """Also by the policy's name, whose certificate everybody trusts."""
    page = fetch(everywhere, place, "/certificate")
    assert page.status == 200, page.text
    sign = re.search(r'<object [^>]*data="(https://[^"]+)"', page.text)
    assert sign, page.text
    place_of_sign = html.unescape(sign[1])
    assert (
        f"img-src 'self' {place_of_sign.removesuffix('/certificate/trusted.svg')} https://hedgerow.internal:"
        in page.headers["content-security-policy"][0]
    )
    shown = curl(place_of_sign, ca=everywhere.authority)
    assert (shown.exit_code, shown.status) == (0, 200), (place_of_sign, shown.error)
    assert curl(place_of_sign, ca=public / "ca.pem").exit_code == 60


@pytest.mark.parametrize("place", PLACES)
def test_other_pages_are_reached_by_any_name(everywhere: Hedgerow, place: str) -> None:
    assert fetch(everywhere, place, "/check").status == 200
    script = fetch(everywhere, place, "/proxy.pac")
    assert f'"PROXY {everywhere.proxy[0]}:{everywhere.proxy[1]}"' in script.text, (
        "the one address at which the proxy listens"
    )


def test_a_listener_at_one_address_is_shown_with_it() -> None:
    with running_hedgerow(
        "network: {timezone: UTC, lists: starter, lan: [127.0.0.0/8]}\n", web="127.0.0.8:0"
    ) as running:
        port = parse_address(running.web.removeprefix("http://"))[1]
        page = curl(f"{running.web}/certificate", source="127.0.0.9")
        assert f"https://127.0.0.8:{port}/certificate/trusted.svg" in page.text
        assert f"<code>http://127.0.0.8:{port}/certificate</code>" in page.text


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_the_address_in_the_ready_line_opens_in_a_browser_here(listen: str) -> None:
    """Before anybody has set a password it leads to the guide."""
    policy = """network: {lists: starter, lan: [127.0.0.0/8, "::1/128"]}"""
    with running_hedgerow(policy, web=listen) as running:
        page = curl(running.web)
        assert (page.status, page.headers["location"]) == (303, ["/start"])
        assert curl(f"{running.web}/start").status == 200
