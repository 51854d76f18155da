"""The web pages over TLS: a certificate of our CA by address, the policy's files by its server name."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.browser import CAN_TRUST, CHROMIUM, browser_for_pages, trusting
from small_internet.clients import HttpAnswer, curl
from small_internet.family import LISTS, TABLET, family_policy
from small_internet.running import Hedgerow, parse_address, running_hedgerow, wait_until

from hedgerow.proxy.certificate_authority import CertificateAuthority, ensure_ca, issue_server_certificate, load_ca

NAME = "hedgerow.home.example"
CSS = "/static/hedgerow.css"  # everybody may have it
PHONE = "127.0.0.7"
"""Ann's, who is grown up."""


def write_certificate(authority: CertificateAuthority, folder: Path) -> None:
    """As a renewal does: the key first, then the chain, each renamed into place."""
    pem = issue_server_certificate(authority, [NAME], [])
    end = b"-----END PRIVATE KEY-----\n"
    key, _, chain = pem.partition(end)
    for name, content in (("key.pem", key + end), ("chain.pem", chain)):
        fresh = folder / f"{name}.new"
        fresh.write_bytes(content)
        fresh.replace(folder / name)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority that everybody trusts, and a certificate of it."""
    folder = tmp_path_factory.mktemp("public")
    ensure_ca(folder / "ca")
    (folder / "ca.pem").write_bytes(load_ca(folder / "ca").pem)
    write_certificate(load_ca(folder / "ca"), folder)
    return folder


@pytest.fixture(scope="module")
def house(whole_internet: SmallInternet, public: Path) -> Iterator[Hedgerow]:
    said = f"  server_name: {NAME}\n  certificate: {{chain: {public}/chain.pem, key: {public}/key.pem}}\n"
    policy = family_policy(whole_internet).replace("  country: GB\n", "  country: GB\n" + said)
    policy = policy.replace("people:\n", f"people:\n  ann: {{age: 40, devices: [{PHONE}]}}\n")
    with running_hedgerow(policy, lists=LISTS) as running:
        yield running


def fetch(running: Hedgerow, path: str, *, scheme: str = "https", ca: Path | None = None, **more: object) -> HttpAnswer:
    """By the policy's name."""
    host, port = parse_address(running.web.removeprefix("http://"))
    resolve = [f"{NAME}:{port}:{host}"]
    return curl(f"{scheme}://{NAME}:{port}{path}", resolve=resolve, ca=ca, **more)  # type: ignore[arg-type]


def test_the_policys_name_gets_its_files_and_renewed_ones(house: Hedgerow, public: Path) -> None:
    first = fetch(house, CSS, ca=public / "ca.pem")
    assert (first.exit_code, first.status) == (0, 200), first.error
    other = public / "other"
    ensure_ca(other)
    write_certificate(load_ca(other), public)
    (public / "other.pem").write_bytes(load_ca(other).pem)
    wait_until(lambda: fetch(house, CSS, ca=public / "other.pem").exit_code == 0, 30, "the renewed certificate")
    assert fetch(house, CSS, ca=public / "ca.pem").exit_code == 60, "the old one is gone"


def test_broken_files_leave_the_last_good_ones_in_force(house: Hedgerow, public: Path) -> None:
    ca = public / ("other.pem" if (public / "other.pem").exists() else "ca.pem")
    assert fetch(house, CSS, ca=ca).exit_code == 0
    before = (public / "chain.pem").read_bytes()
    (public / "chain.pem").write_text("-----BEGIN CERTIFICATE-----\nhalf of it")
    try:
        assert fetch(house, CSS, ca=ca).exit_code == 0
        wait_until(lambda: "Can't use the policy's certificate for the web pages" in house.stderr, 30, "the warning")
    finally:
        (public / "chain.pem").write_bytes(before)


def test_other_names_get_a_certificate_of_our_ca(house: Hedgerow) -> None:
    host, port = parse_address(house.web.removeprefix("http://"))
    for name in (host, "localhost", socket.gethostname().partition(".")[0].lower()):
        answer = curl(f"https://{name}:{port}{CSS}", ca=house.authority, resolve=[f"{name}:{port}:{host}"])
        assert (answer.exit_code, answer.status) == (0, 200), (name, answer.error)
    strange = curl(f"https://evil.example:{port}/", insecure=True, resolve=[f"evil.example:{port}:{host}"])
    assert strange.status == 421, "a name that somebody else pointed at us"


def test_http_redirects_to_https_except_for_devices(house: Hedgerow) -> None:
    port = parse_address(house.web.removeprefix("http://"))[1]
    moved = fetch(house, "/log?host=a%20b", scheme="http", source=PHONE)
    assert (moved.status, moved.headers["location"]) == (308, [f"https://{NAME}:{port}/log?host=a%20b"])
    assert fetch(house, "/device", scheme="http", source=TABLET).status == 200
    assert fetch(house, "/proxy.pac", scheme="http", source=TABLET).status == 200
    assert curl(house.web + "/healthz").status == 200, "at the machine itself nothing changes"


@pytest.fixture(scope="module")
def signed_in(house: Hedgerow) -> str:
    """The cookie with which the first account's session begins, as it was set over TLS."""
    site = house.web.replace("http:", "https:")
    fields = {"name": "ann", "password": f"four words {os.getpid()} more", "code": house.setup_code}
    form = [part for name, value in fields.items() for part in ("--data-urlencode", f"{name}={value}")]
    made = curl(f"{site}/start/password", ca=house.authority, headers=[f"Origin: {site}"], options=form)
    return made.headers.get("set-cookie", [f"no cookie: {made.status}"])[0]


def test_a_tls_session_cookie_is_secure(signed_in: str) -> None:
    cookie = signed_in.lower()
    assert "hedgerow_session=" in cookie
    assert {"secure", "httponly", "samesite=strict"} <= {part.strip() for part in cookie.split(";")}


@pytest.mark.browser
@pytest.mark.skipif(not CAN_TRUST, reason="needs Debian's chromium and libnss3-tools")
def test_a_phone_that_trusts_the_authority_gets_notices_without_a_domain(
    house: Hedgerow, signed_in: str, tmp_path: Path
) -> None:
    """From HTTP to the button of web push, by the name that Hedgerow's DNS answers."""
    host, port = parse_address(house.web.removeprefix("http://"))
    name, _, value = signed_in.partition(";")[0].partition("=")
    start = f"http://hedgerow.internal:{port}"
    found = f"--host-resolver-rules=MAP hedgerow.internal {host}"
    with browser_for_pages(program=CHROMIUM, args=[found], env=trusting(tmp_path, house.authority)) as browser:
        context = browser.new_context(viewport={"width": 390, "height": 844}, locale="en")
        context.add_cookies([{"name": name, "value": value, "url": start}])
        page = context.new_page()
        page.goto(f"{start}/settings/notices")
        page.get_by_role("link", name="Install the certificate of this network").click()
        for sign in page.locator(".sign .tag").all():
            sign.wait_for(state="hidden")
        page.get_by_role("link", name="Notices by HTTPS").click()
        page.wait_for_url(f"https://hedgerow.internal:{port}/settings/notices")
        page.get_by_role("button", name="Switch on here").wait_for()
        assert page.locator("#push-insecure").is_hidden()
