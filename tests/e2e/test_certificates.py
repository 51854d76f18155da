"""`hedgerow ca`: the files that devices install, and a rotation while Hedgerow runs."""

from __future__ import annotations

import json
import os
import plistlib
import re
import signal
import socket
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from small_internet import SmallInternet
from small_internet.browser import CAN_TRUST, browser_for_pages, trusting
from small_internet.clients import curl
from small_internet.family import LISTS, OUTSIDER, TABLET, family_policy
from small_internet.running import Hedgerow, hedgerow_command, running_hedgerow, wait_until

COMPUTER = "127.0.0.4"


@pytest.mark.browser
@pytest.mark.skipif(not CAN_TRUST, reason="needs Debian's chromium and libnss3-tools")
def test_the_certificate_page_detects_trust(family: Hedgerow, tmp_path: Path) -> None:
    """Without any script: Chromium with the authority among its own shows the sign, Chromium without it the words."""
    page_url = family.web + "/certificate"
    for is_trusted in (False, True):
        authorities = [family.authority] if is_trusted else []
        with browser_for_pages(env=trusting(tmp_path / str(is_trusted), *authorities)) as browser:
            for theme in ("light", "dark"):
                context = browser.new_context(
                    java_script_enabled=False, color_scheme=theme, viewport={"width": 390, "height": 844}
                )
                page = context.new_page()
                page.goto(page_url)
                words = page.locator(".sign .tag")
                if is_trusted:
                    words.wait_for(state="hidden")
                    assert [frame.url for frame in page.frames[1:]] == [
                        page_url.replace("http:", "https:") + "/trusted.svg"
                    ]
                    opened = page.goto(page_url.replace("http:", "https:"))
                    assert opened is not None
                    assert opened.ok
                else:
                    words.wait_for(state="visible")
                assert words.is_visible() is not is_trusted
                context.close()


def test_the_page_offers_the_certificate_files(family: Hedgerow) -> None:
    """As a filtered device gets them, which gets nothing else there."""
    own = x509.load_pem_x509_certificate(family.authority.read_bytes())
    found = {}
    for form in ("pem", "crt", "mobileconfig"):
        answer = curl(f"{family.web}/certificate/hedgerow-ca.{form}", source=TABLET)
        assert answer.status == 200
        found[form] = (answer.headers["content-type"][0], answer.body)
    assert found["pem"] == ("application/x-pem-file", own.public_bytes(Encoding.PEM))
    assert found["crt"] == ("application/x-x509-ca-cert", own.public_bytes(Encoding.DER))
    assert found["mobileconfig"][0] == "application/x-apple-aspen-config"
    assert plistlib.loads(found["mobileconfig"][1])["PayloadContent"][0]["PayloadContent"] == own.public_bytes(
        Encoding.DER
    )
    assert curl(f"{family.web}/settings", source=TABLET).status in {303, 403}, "to the guide, until there is a password"


def test_one_port_speaks_with_and_without_tls(family: Hedgerow) -> None:
    secure = family.web.replace("http:", "https:") + "/certificate/trusted.svg"
    assert curl(secure, source=TABLET, ca=family.authority).status == 200
    assert curl(secure, source=TABLET).exit_code == 60  # does not trust the authority
    assert curl(family.web + "/certificate/trusted.svg", source=TABLET).status == 404
    with socket.create_connection(
        (family.web.split(":")[1].strip("/"), int(family.web.rpartition(":")[2])), source_address=(TABLET, 0)
    ) as silent:
        assert curl(family.web + "/device", source=TABLET).status == 200
        silent.sendall(b"\x16\x03\x01nonsense")
        assert silent.recv(100)[:1] in {b"", b"\x15"}  # ended, or told so in TLS


def test_proxy_auto_config_on_the_web_port(family: Hedgerow) -> None:
    for path, host in (("/wpad.dat", "wpad.home.arpa"), ("/proxy.pac", "127.0.0.1")):
        answer = curl(family.web + path, source=TABLET, headers=[f"Host: {host}"])
        assert answer.headers["content-type"] == ["application/x-ns-proxy-autoconfig"]
        assert f'return "PROXY 127.0.0.1:{family.proxy[1]}";' in answer.text
    assert curl(family.web + "/proxy.pac", source=OUTSIDER).status == 403


def test_export_and_rotation(whole_internet: SmallInternet, tmp_path: Path) -> None:
    policy, root = family_policy(whole_internet), whole_internet.authority.root
    with running_hedgerow(policy, lists=LISTS, upstream_authority=root) as running:
        url = whole_internet.url("adult.example")

        def blocked(authority: Path) -> bool:
            """Whether the block page shows over HTTPS to a computer that trusts the certificate in `authority`."""
            answer = curl(url, proxy=running.proxy, source=COMPUTER, ca=authority)
            return answer.status == 403 and "This site is not open here" in answer.text

        old = running.authority
        assert blocked(old)
        state = ("--state", str(running.state))
        for name in ("ca.mobileconfig", "ca.cer"):
            assert hedgerow_command("ca", "export", str(tmp_path / name), *state).returncode == 0
        der = (tmp_path / "ca.cer").read_bytes()
        assert x509.load_der_x509_certificate(der) == x509.load_pem_x509_certificate(old.read_bytes())
        assert plistlib.loads((tmp_path / "ca.mobileconfig").read_bytes())["PayloadContent"][0]["PayloadContent"] == der

        rotated = json.loads(hedgerow_command("ca", "rotate", "--yes", "--json", *state).stdout)
        assert rotated["restarted"] >= 1
        new = tmp_path / "new.pem"
        new.write_text(hedgerow_command("ca", "export", *state).stdout)
        assert new.read_bytes() != old.read_bytes()
        wait_until(lambda: blocked(new), 60, "the inspector is back with the new authority")
        assert not blocked(old)


def test_a_readable_ca_key_is_reported_and_stops_nothing(whole_internet: SmallInternet) -> None:
    with running_hedgerow(family_policy(whole_internet), lists=LISTS) as running:
        control, file = running.pids("control"), running.state / "ca" / "hedgerow-ca.pem"

        def asked() -> httpx.Response:
            token = (running.state / "admin-token").read_text().strip()  # another one after each start of control
            return httpx.get(
                f"{running.web}/api/v1/status",
                headers={"Authorization": f"Bearer {token}"},
                trust_env=False,
                timeout=60,
                verify=False,
            )

        assert asked().json()["certificates"]["ca"]
        file.chmod(0o644)
        assert "ca" not in asked().json()["certificates"]
        assert "can be read by others: run chmod 600 on it" in running.run("doctor").stdout
        assert running.pids("control") == control
        for role, pid in (("control", control[0]), ("signer", running.pids("signer")[0])):
            os.kill(pid, signal.SIGKILL)
            reason = re.compile(rf" {role}\S* error: .*can be read by others: run chmod 600 on it")
            wait_until(lambda reason=reason: reason.search(running.stderr), 60, "the reason")  # type: ignore[misc]
        assert "Traceback" not in running.stderr
        file.chmod(0o600)

        def is_back() -> bool:
            try:
                return "ca" in asked().json().get("certificates", ())  # a token of the control before is refused
            except httpx.TransportError:
                return False

        wait_until(is_back, 60, "control runs again")
